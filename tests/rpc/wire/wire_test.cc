// The same claims over every wire.

#include <unistd.h>

#include <atomic>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/client/call.h"
#include "rpc/client/cancellation.h"
#include "rpc/client/transport.h"
#include "rpc/testing/status_matchers.h"
#include "tests/rpc/wire/probe.tandem.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/rpc/wire/worlds.h"

namespace tests::wire {
namespace {

using ::tandem::rpc::CallOptions;
using ::tandem::rpc::Cancellation;
using ::tandem::rpc::ClientWire;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Lt;
using ::testing::Property;

Item Number(std::int64_t number) {
  Item item;
  item.set_number(number);
  return item;
}

Item Bytes(std::size_t size) {
  Item item;
  item.set_data(std::string(size, 'x'));
  return item;
}

auto HoldsNumber(std::int64_t number) {
  return tandem::rpc::testing::IsOkAndHolds(Property(&Item::number, number));
}

const tandem::rpc::Method* FindMethod(std::string_view name) {
  for (const auto& method : ProbeHandler::Table().methods) {
    if (method.name == name) return &method;
  }
  return nullptr;
}

enum class Wire { kInProcess, kGrpc, kTtrpc };

std::string NameOf(Wire wire) {
  switch (wire) {
    case Wire::kInProcess:
      return "InProcess";
    case Wire::kGrpc:
      return "Grpc";
    case Wire::kTtrpc:
      return "Ttrpc";
  }
  return "";
}

class WireTest : public ::testing::TestWithParam<Wire> {
 protected:
  // For tests that need another pool than most.
  void Restart(const WorldOptions& options) {
    world_ = nullptr;
    if (GetParam() == Wire::kInProcess) {
      world_ = std::make_unique<InProcessWorld>(service_, options);
    } else {
      world_ = std::make_unique<ServerWorld>(
          service_,
          GetParam() == Wire::kGrpc ? ClientWire::kGrpc : ClientWire::kTtrpc,
          options);
    }
    probe_ = std::make_unique<ProbeClient>(world_->transport());
  }

  void SetUp() override { Restart({}); }

  ProbeClient& probe() { return *probe_; }

  ProbeService service_;
  std::unique_ptr<World> world_;
  std::unique_ptr<ProbeClient> probe_;
};

TEST_P(WireTest, UnaryCallReturnsWhatTheHandlerReturned) {
  Item item = Bytes(100);
  item.set_number(7);
  auto reply = probe().Echo(item);
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->SerializeAsString(), item.SerializeAsString());
}

TEST_P(WireTest, EveryKindOfUnaryHandlerAnswers) {
  EXPECT_THAT(probe().Echo(Number(1)), HoldsNumber(1));
  EXPECT_THAT(probe().EchoInline(Number(2)), HoldsNumber(2));
  EXPECT_THAT(probe().EchoLater(Number(3)), HoldsNumber(3));
  EXPECT_THAT(probe().EchoLaterInline(Number(4)), HoldsNumber(4));
}

TEST_P(WireTest, ThePolicyDecidesAndSaysByWhichRule) {
  auto access = tandem::rpc::AccessPolicy::SameUser();
  ASSERT_THAT(access.AddRule("tests.wire.Probe=user:54321"), IsOk());
  ASSERT_THAT(access.AddRule(absl::StrCat("tests.wire.Probe/EchoInline=user:",
                                          ::geteuid())),
              IsOk());
  Restart({.access = access});
  EXPECT_THAT(probe().EchoInline(Number(2)), HoldsNumber(2));
  const auto denied = [](const std::string& name) {
    return absl::PermissionDeniedError(
        absl::StrCat("uid ", ::geteuid(), " may not call tests.wire.Probe/",
                     name, ": the rule for tests.wire.Probe allows uid 54321"));
  };
  EXPECT_EQ(probe().Echo(Number(1)).status(), denied("Echo"));
  auto counting = probe().Count(Number(3));
  Item item;
  EXPECT_FALSE(counting.Read(&item));
  EXPECT_EQ(counting.status(), denied("Count"));
  EXPECT_EQ(service_.calls, 0) << "of Echo";
}

TEST_P(WireTest, CallbackGetsTheReply) {
  absl::StatusOr<Item> got = absl::UnknownError("not called");
  Event done;
  probe().Echo(Number(5), {}, [&](absl::StatusOr<Item> reply) {
    got = std::move(reply);
    done.Set();
  });
  ASSERT_TRUE(done.Wait());
  EXPECT_THAT(got, HoldsNumber(5));
}

TEST_P(WireTest, CallbackOfStatusAndReplyGetsBoth) {
  Event done;
  probe().EchoInline(Number(6), {},
                     [&](const absl::Status& status, Item& item) {
                       EXPECT_THAT(status, IsOk());
                       EXPECT_EQ(item.number(), 6);
                       done.Set();
                     });
  ASSERT_TRUE(done.Wait());
}

TEST_P(WireTest, ErrorKeepsItsCodeAndMessage) {
  for (int code = 1; code <= 16; ++code) {
    Failure failure;
    failure.set_code(code);
    failure.set_message("asked to fail: \xc3\xa4\n%20 ");
    EXPECT_THAT(
        probe().Fail(failure),
        StatusIs(static_cast<absl::StatusCode>(code), Eq(failure.message())));
  }
}

TEST_P(WireTest, DroppedReplyAnswersInternal) {
  EXPECT_THAT(probe().Drop(Item()),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("dropped")));
}

TEST_P(WireTest, MethodThatIsNotOverriddenIsUnimplemented) {
  EXPECT_THAT(probe().Missing(Item()),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("tests.wire.Probe/Missing")));
  auto stream = probe().MissingStream();
  Item item;
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("tests.wire.Probe/MissingStream")));
}

TEST_P(WireTest, HandlerSeesCallerAndDeadline) {
  const absl::Time before = absl::Now();
  ASSERT_THAT(probe().Echo(Item(), {.timeout = absl::Seconds(50)}), IsOk());
  EXPECT_EQ(service_.last_caller().uid, ::geteuid());
  EXPECT_GT(service_.last_deadline(), before + absl::Seconds(40));
  EXPECT_LT(service_.last_deadline(), absl::Now() + absl::Seconds(51));
  ASSERT_THAT(probe().Echo(Item(), {.timeout = absl::InfiniteDuration()}),
              IsOk());
  EXPECT_EQ(service_.last_deadline(), absl::InfiniteFuture());
  ASSERT_THAT(probe().Echo(Item()), IsOk());
  EXPECT_LT(service_.last_deadline(),
            absl::Now() + tandem::rpc::kDefaultCallTimeout + absl::Seconds(1));
}

TEST_P(WireTest, HandlerSeesMetadata) {
  // gRPC sorts them by key.
  const tandem::rpc::Metadata metadata = {
      {"trace-id", "4711"}, {"x.y_z", "a value, with spaces"}, {"z", ""}};
  ASSERT_THAT(probe().Echo(Item(), {.metadata = metadata}), IsOk());
  EXPECT_EQ(service_.last_metadata(), metadata);
  auto stream = probe().Count(Number(0), {.metadata = {{"only", "this"}}});
  Item item;
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(service_.last_metadata(),
              ::testing::ElementsAre(::testing::Pair("only", "this")));
  ASSERT_THAT(probe().Echo(Item()), IsOk());
  EXPECT_THAT(service_.last_metadata(), ::testing::IsEmpty());
}

TEST_P(WireTest, AsMuchMetadataAsMayBeSentArrives) {
  tandem::rpc::Metadata many;
  while (tandem::rpc::CheckMetadata(many).ok()) many.emplace_back("k", "v");
  many.pop_back();
  ASSERT_THAT(probe().Echo(Item(), {.metadata = many}), IsOk());
  EXPECT_EQ(service_.last_metadata(), many);
}

TEST_P(WireTest, MetadataThatNoWireCanCarryEndsTheCall) {
  for (const tandem::rpc::Metadata& metadata :
       {tandem::rpc::Metadata{{"Upper", "case"}},
        tandem::rpc::Metadata{{"grpc-timeout", "1S"}},
        tandem::rpc::Metadata{{"key", "line\nend"}},
        tandem::rpc::Metadata{{"key", std::string(5000, 'x')}},
        tandem::rpc::Metadata(200, {"k", "v"})}) {
    EXPECT_THAT(
        probe().Echo(Item(), {.metadata = metadata}),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("metadata")));
  }
  EXPECT_EQ(service_.calls, 0);
}

TEST_P(WireTest, DeadlinePassesWhileTheHandlerHangs) {
  // A busy machine may take longer to begin the call than it may take.
  for (absl::Duration timeout = absl::Milliseconds(50);
       !service_.began.is_set(); timeout *= 2) {
    EXPECT_THAT(probe().Hang(Item(), {.timeout = timeout}),
                StatusIs(absl::StatusCode::kDeadlineExceeded,
                         HasSubstr("/tests.wire.Probe/Hang")));
  }
  EXPECT_TRUE(service_.cancelled.Wait());
}

TEST_P(WireTest, DeadlinePassesWhileTheReplyIsKept) {
  // As above.
  for (absl::Duration timeout = absl::Milliseconds(50);
       !service_.began.is_set(); timeout *= 2) {
    EXPECT_THAT(probe().HangLater(Item(), {.timeout = timeout}),
                StatusIs(absl::StatusCode::kDeadlineExceeded));
  }
  EXPECT_TRUE(service_.cancelled.Wait());
}

TEST_P(WireTest, DeadlineThatHasPassedEndsTheCall) {
  EXPECT_THAT(probe().Echo(Item(), {.timeout = -absl::Seconds(1)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_P(WireTest, CancellationEndsCallsAndReachesTheHandler) {
  Cancellation cancellation;
  absl::Status ended;
  std::thread caller([&] {
    ended = probe()
                .Hang(Item(), {.timeout = absl::Seconds(60),
                               .cancellation = cancellation})
                .status();
  });
  EXPECT_TRUE(service_.began.Wait());
  cancellation.Cancel();
  caller.join();
  EXPECT_THAT(ended, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_TRUE(service_.cancelled.Wait());
}

TEST_P(WireTest, CancelledBeforeItBeganTheCallIsNotMade) {
  Cancellation cancellation;
  cancellation.Cancel();
  EXPECT_THAT(probe().Echo(Item(), {.cancellation = cancellation}),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(service_.calls, 0);
}

TEST_P(WireTest, ServerStreamArrivesInOrderAndEnds) {
  auto stream = probe().Count(Number(5000));
  Item item;
  std::int64_t next = 0;
  while (stream.Read(&item)) EXPECT_EQ(item.number(), next++);
  EXPECT_EQ(next, 5000);
  EXPECT_THAT(stream.status(), IsOk());
  EXPECT_FALSE(stream.Read(&item));
}

TEST_P(WireTest, EmptyServerStreamEndsAtOnce) {
  auto stream = probe().Count(Number(0));
  Item item;
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(), IsOk());
}

TEST_P(WireTest, StreamEndsWithItsErrorAfterItsMessages) {
  Failure failure;
  failure.set_code(static_cast<int>(absl::StatusCode::kDataLoss));
  failure.set_message("half of it");
  auto stream = probe().FailStream(failure);
  Item item;
  EXPECT_TRUE(stream.Read(&item));
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(),
              StatusIs(absl::StatusCode::kDataLoss, "half of it"));
}

TEST_P(WireTest, ErrorsKeepTheirDetails) {
  Failure failure;
  failure.set_code(static_cast<int>(absl::StatusCode::kDataLoss));
  failure.set_message("half of it");
  const std::string binary("\x00\xff\n", 3);
  (*failure.mutable_details())["example.com/tests.One"] = binary;
  (*failure.mutable_details())["example.com/tests.Empty"] = "";
  const auto expect = [&](const absl::Status& status) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, "half of it"));
    EXPECT_EQ(status.GetPayload("example.com/tests.One"), absl::Cord(binary));
    EXPECT_EQ(status.GetPayload("example.com/tests.Empty"), absl::Cord());
  };
  expect(probe().Fail(failure).status());
  auto stream = probe().FailStream(failure);
  Item item;
  while (stream.Read(&item)) {
  }
  expect(stream.status());
  // Too much for headers, and for a frame of an error.
  (*failure.mutable_details())["example.com/tests.Large"] =
      std::string(1 << 20, 'x');
  expect(probe().Fail(failure).status());
}

TEST_P(WireTest, ALongMessageLeavesAnErrorItsCode) {
  Failure failure;
  failure.set_code(static_cast<int>(absl::StatusCode::kDataLoss));
  // Percent-encoded in gRPC's headers.
  for (int i = 0; i < 1000; ++i) failure.mutable_message()->append("\u00e9");
  (*failure.mutable_details())["example.com/tests.One"] = "one";
  const absl::Status status = probe().Fail(failure).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, failure.message()));
}

TEST_P(WireTest, DroppedStreamEndsWithInternal) {
  auto stream = probe().DropStream(Item());
  Item item;
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("dropped")));
}

TEST_P(WireTest, ClientStreamIsAnsweredOnce) {
  auto stream = probe().Sum();
  for (int i = 1; i <= 1000; ++i) ASSERT_THAT(stream.Write(Number(i)), IsOk());
  EXPECT_THAT(stream.Finish(), HoldsNumber(500500));
}

TEST_P(WireTest, EmptyClientStreamIsAnswered) {
  EXPECT_THAT(probe().Sum().Finish(), HoldsNumber(0));
}

TEST_P(WireTest, ClientStreamMayBeAnsweredEarly) {
  auto stream = probe().First();
  ASSERT_THAT(stream.Write(Number(9)), IsOk());
  absl::Status sent;
  while (sent.ok()) sent = stream.Write(Bytes(1000));
  EXPECT_THAT(sent, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(stream.Finish(), HoldsNumber(9));
}

TEST_P(WireTest, BidiStreamGoesBothWays) {
  auto stream = probe().Chat();
  Item item;
  for (int i = 0; i < 200; ++i) {
    ASSERT_THAT(stream.Write(Number(i)), IsOk());
    ASSERT_TRUE(stream.Read(&item));
    EXPECT_EQ(item.number(), i);
  }
  stream.WritesDone();
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(), IsOk());
  EXPECT_THAT(stream.Write(item), StatusIs(absl::StatusCode::kCancelled));
}

TEST_P(WireTest, ServerThatWritesTooFastIsHeldBack) {
  auto stream = probe().Flood(Bytes(10000));
  ASSERT_TRUE(service_.flooded.Wait());
  Item item;
  std::int64_t messages = 0;
  std::int64_t last = 0;
  while (stream.Read(&item)) {
    ++messages;
    last = item.number();
  }
  EXPECT_THAT(stream.status(), IsOk());
  EXPECT_EQ(last, messages - 1);
  // The bound, and what the socket and gRPC keep.
  EXPECT_THAT(messages, AllOf(Gt(10), Lt(2000)));
}

TEST_P(WireTest, ClientThatWritesTooFastIsHeldBack) {
  auto stream = probe().SumLate();
  ASSERT_TRUE(service_.began.Wait());
  Item item = Bytes(10000);
  item.set_number(1);
  std::int64_t messages = 0;
  absl::Status sent;
  while ((sent = stream.TryWrite(item)).ok() && messages < 100000) ++messages;
  EXPECT_THAT(sent, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(messages, AllOf(Gt(10), Lt(2000)));
  Event writable;
  stream.OnWritable([&] { writable.Set(); });
  service_.read_late.Set();
  EXPECT_TRUE(writable.Wait());
  EXPECT_THAT(stream.Write(item), IsOk());
  EXPECT_THAT(stream.Finish(), HoldsNumber(messages + 1));
}

TEST_P(WireTest, AbandonedStreamIsNoticedByTheHandler) {
  {
    auto stream = probe().Linger(Number(1));
    Item item;
    EXPECT_TRUE(stream.Read(&item));
  }
  EXPECT_TRUE(service_.cancelled.Wait());
}

TEST_P(WireTest, CancelEndsAStreamThatIsBeingRead) {
  auto stream = probe().Linger(Number(1));
  Item item;
  ASSERT_TRUE(stream.Read(&item));
  std::thread canceller([&] { stream.Cancel(); });
  EXPECT_FALSE(stream.Read(&item));
  canceller.join();
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_TRUE(service_.cancelled.Wait());
}

TEST_P(WireTest, CancellationEndsStreams) {
  Cancellation cancellation;
  auto stream = probe().Linger(Number(1), {.cancellation = cancellation});
  Item item;
  ASSERT_TRUE(stream.Read(&item));
  std::thread canceller([&] { cancellation.Cancel(); });
  EXPECT_FALSE(stream.Read(&item));
  canceller.join();
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_TRUE(service_.cancelled.Wait());
}

TEST_P(WireTest, DeadlineEndsStreams) {
  // As above.
  for (absl::Duration timeout = absl::Milliseconds(50);
       !service_.began.is_set(); timeout *= 2) {
    auto stream = probe().Linger(Number(1), {.timeout = timeout});
    Item item;
    while (stream.Read(&item)) {
    }
    EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kDeadlineExceeded));
  }
  EXPECT_TRUE(service_.cancelled.Wait());
}

TEST_P(WireTest, OversizedRequestIsRefusedAndNamed) {
  EXPECT_THAT(
      probe().Echo(Bytes(kMaxMessageBytes)),
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr("/tests.wire.Probe/Echo"), HasSubstr("limit"))));
  EXPECT_EQ(service_.calls, 0);
  EXPECT_THAT(probe().Echo(Bytes(kMaxMessageBytes - 100)), IsOk());
}

TEST_P(WireTest, OversizedReplyIsRefusedAndNamed) {
  EXPECT_THAT(
      probe().Grow(Number(kMaxMessageBytes)),
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr("/tests.wire.Probe/Grow"), HasSubstr("limit"))));
  EXPECT_THAT(probe().Grow(Number(kMaxMessageBytes - 100)), IsOk());
}

TEST_P(WireTest, OversizedStreamMessageIsRefusedAndTheStreamGoesOn) {
  auto stream = probe().Chat();
  EXPECT_THAT(stream.Write(Bytes(kMaxMessageBytes)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("limit")));
  Item item;
  ASSERT_THAT(stream.Write(Number(1)), IsOk());
  ASSERT_TRUE(stream.Read(&item));
  EXPECT_EQ(item.number(), 1);
}

TEST_P(WireTest, FullQueueAnswersResourceExhausted) {
  Restart({.workers = 1, .max_queued_calls = 1});
  Cancellation cancellation;
  std::atomic<int> ended{0};
  absl::Status refused;
  Event all_ended;
  constexpr int kCalls = 3;
  const CallOptions options = {.timeout = absl::Seconds(60),
                               .cancellation = cancellation};
  // One runs, and hangs; of the others one waits and one is too many.
  probe().Hang(Item(), options, [&](absl::StatusOr<Item>) {
    if (++ended == kCalls) all_ended.Set();
  });
  ASSERT_TRUE(service_.began.Wait());
  Event one_refused;
  for (int i = 1; i < kCalls; ++i) {
    probe().Echo(Item(), options, [&](absl::StatusOr<Item> reply) {
      if (absl::IsResourceExhausted(reply.status())) one_refused.Set();
      if (++ended == kCalls) all_ended.Set();
    });
  }
  EXPECT_TRUE(one_refused.Wait());
  EXPECT_THAT(probe().EchoInline(Number(1)), HoldsNumber(1));
  cancellation.Cancel();
  EXPECT_TRUE(all_ended.Wait());
}

TEST_P(WireTest, ManyCallsAtOnceAreEachAnswered) {
  constexpr int kCalls = 1000;
  std::atomic<int> left{4 * kCalls};
  std::atomic<int> wrong{0};
  Event done;
  const auto Check = [&](int want, const absl::StatusOr<Item>& reply) {
    if (!reply.ok() || reply->number() != want) {
      if (++wrong == 1) ADD_FAILURE() << "the first: " << reply.status();
    }
    if (--left == 0) done.Set();
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kCalls; ++i) {
        const auto then = [&, i](absl::StatusOr<Item> reply) {
          Check(i, reply);
        };
        if (t % 2 == 0) {
          probe().EchoInline(Number(i), {}, then);
        } else {
          Check(i, probe().Echo(Number(i)));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(done.Wait());
  EXPECT_EQ(wrong, 0);
}

TEST_P(WireTest, AThousandCallsEndWhicheverWayTheyAreEnded) {
  constexpr int kCalls = 1000;
  std::mt19937 random(1);
  std::atomic<int> left{kCalls};
  std::atomic<int> wrong{0};
  Event done;
  const auto then = [&](const absl::StatusOr<Item>& reply) {
    // Some wait in a full queue for their turn.
    if (!reply.ok() && !absl::IsCancelled(reply.status()) &&
        !absl::IsDeadlineExceeded(reply.status()) &&
        !absl::IsResourceExhausted(reply.status())) {
      if (++wrong == 1) ADD_FAILURE() << "the first: " << reply.status();
    }
    if (--left == 0) done.Set();
  };
  std::vector<Cancellation> cancellations(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    // One in three hangs until it is ended.
    const bool hangs = i % 3 == 0;
    const CallOptions options = {
        .timeout = absl::Milliseconds(hangs ? random() % 200 : 10'000),
        .cancellation = cancellations[i]};
    if (hangs) {
      probe().HangLater(Number(i), options, then);
    } else if (i % 3 == 1) {
      probe().Echo(Number(i), options, then);
    } else {
      probe().EchoInline(Number(i), options, then);
    }
    if (random() % 2 == 0) cancellations[random() % (i + 1)].Cancel();
  }
  EXPECT_TRUE(done.Wait());
  EXPECT_THAT(probe().Echo(Number(5)), HoldsNumber(5));
}

TEST_P(WireTest, SlowStreamHoldsBackNoNeighbour) {
  auto slow = probe().Flood(Bytes(1000));
  ASSERT_TRUE(service_.flooded.Wait());
  auto unread = probe().SumLate();
  while (unread.TryWrite(Bytes(1000)).ok()) {
  }
  EXPECT_THAT(probe().Echo(Number(1)), HoldsNumber(1));
  auto stream = probe().Count(Number(5000));
  Item item;
  std::int64_t messages = 0;
  while (stream.Read(&item)) ++messages;
  EXPECT_EQ(messages, 5000);
  EXPECT_THAT(stream.status(), IsOk());
  auto sum = probe().Sum();
  for (int i = 1; i <= 1000; ++i) ASSERT_THAT(sum.Write(Number(i)), IsOk());
  EXPECT_THAT(sum.Finish(), HoldsNumber(500500));
  service_.read_late.Set();
}

TEST_P(WireTest, DestroyedTransportEndsCallsAndStreams) {
  Event stream_ended;
  Item item;
  auto stream = world_->transport().Open(*FindMethod("Linger"),
                                         &Item::default_instance(), {});
  ASSERT_TRUE(tandem::rpc::ReceiveAndWait(*stream, &item));
  stream->Receive(&item, [&](bool got) {
    EXPECT_FALSE(got);
    stream_ended.Set();
  });
  absl::Status ended;
  Event call_ended;
  probe().HangLater(Item(), {.timeout = absl::Seconds(60)},
                    [&](absl::StatusOr<Item> reply) {
                      ended = reply.status();
                      call_ended.Set();
                    });
  ASSERT_TRUE(service_.began.Wait());
  world_ = nullptr;
  EXPECT_TRUE(call_ended.Wait());
  EXPECT_TRUE(stream_ended.Wait());
  EXPECT_TRUE(service_.cancelled.Wait());
  EXPECT_THAT(ended, AnyOf(StatusIs(absl::StatusCode::kUnavailable),
                           StatusIs(absl::StatusCode::kCancelled)));
  EXPECT_THAT(stream->status(), AnyOf(StatusIs(absl::StatusCode::kUnavailable),
                                      StatusIs(absl::StatusCode::kCancelled)));
}

INSTANTIATE_TEST_SUITE_P(All, WireTest,
                         ::testing::Values(Wire::kInProcess, Wire::kGrpc,
                                           Wire::kTtrpc),
                         [](const auto& wire) { return NameOf(wire.param); });

}  // namespace
}  // namespace tests::wire

#include "rpc/wire/ttrpc/ttrpc_transport.h"

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/client/cancellation.h"
#include "rpc/testing/status_matchers.h"
#include "tests/rpc/wire/probe.tandem.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/rpc/wire/ttrpc_peer.h"
#include "tests/support/descriptors.h"
#include "tests/support/eventually.h"

namespace tests::wire {
namespace {

namespace ttrpc = ::tandem::rpc::ttrpc;
namespace v1 = ::tandem::rpc::v1;

using ::tandem::rpc::CallOptions;
using ::tandem::rpc::Cancellation;
using ::tandem::rpc::TtrpcTransport;
using ::tandem::rpc::UniqueFd;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::tandem::test::Eventually;
using ::tandem::test::OpenDescriptors;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Property;

constexpr CallOptions kLong = {.timeout = absl::Seconds(60)};

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

// The outcome of a call with a callback.
struct Outcome {
  Event ended;
  absl::StatusOr<Item> reply = absl::UnknownError("not called");
  std::thread::id thread;

  auto callback() {
    return [this](absl::StatusOr<Item> got) {
      reply = std::move(got);
      thread = std::this_thread::get_id();
      ended.Set();
    };
  }
  const absl::StatusOr<Item>& Wait() {
    EXPECT_TRUE(ended.Wait());
    return reply;
  }
};

class TtrpcTransportTest : public ::testing::Test {
 protected:
  void SetUp() override { Connect({.peer = "unix:/test.sock"}); }

  void Connect(ttrpc::ClientOptions options) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    peer_ = std::make_unique<TtrpcPeer>(UniqueFd(ends[0]));
    auto transport = TtrpcTransport::Create(UniqueFd(ends[1]), options);
    ASSERT_THAT(transport, IsOk());
    transport_ = *std::move(transport);
    probe_ = std::make_unique<ProbeClient>(*transport_);
  }

  // As a server of ours answers Hello.
  void Agree() {
    v1::HelloRequest offered;
    transport_->Offer(offered);
    v1::HelloReply agreed;
    *agreed.mutable_ttrpc() = offered.ttrpc();
    transport_->set_hello(agreed);
  }

  ProbeClient& probe() { return *probe_; }
  TtrpcPeer& peer() { return *peer_; }

  std::unique_ptr<TtrpcPeer> peer_;
  std::unique_ptr<TtrpcTransport> transport_;
  std::unique_ptr<ProbeClient> probe_;
};

// Unary calls.

TEST_F(TtrpcTransportTest, ARequestSaysAllThereIsToSay) {
  Outcome outcome;
  probe().Echo(
      Number(7),
      {.timeout = absl::Seconds(5), .metadata = {{"one", "1"}, {"two", "2"}}},
      outcome.callback());
  const auto frame = peer().MustRead();
  EXPECT_EQ(frame.header.stream, 1u);
  EXPECT_EQ(frame.header.flags, 0);
  const ttrpc::Request request = frame.request();
  EXPECT_EQ(request.service, "tests.wire.Probe");
  EXPECT_EQ(request.method, "Echo");
  EXPECT_EQ(request.payload, Number(7).SerializeAsString());
  EXPECT_EQ(request.timeout_nanos, 5'000'000'000);
  EXPECT_EQ(request.metadata,
            (tandem::rpc::Metadata{{"one", "1"}, {"two", "2"}}));
  peer().Send(ReplyFrame(1, Number(8)));
  EXPECT_THAT(outcome.Wait(), HoldsNumber(8));
}

TEST_F(TtrpcTransportTest, ABlockedCallerGetsItsAnswer) {
  std::thread server([this] {
    for (int i = 0; i < 100; ++i) {
      const auto frame = peer().MustRead();
      peer().Send(ReplyFrame(frame.header.stream, Number(i)));
    }
  });
  for (int i = 0; i < 100; ++i) EXPECT_THAT(probe().Echo({}), HoldsNumber(i));
  server.join();
}

TEST_F(TtrpcTransportTest, AnswersInAnotherOrderFindTheirCallers) {
  constexpr int kCalls = 20;
  std::vector<std::thread> callers;
  std::vector<Outcome> outcomes(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    callers.emplace_back([this, i] {
      EXPECT_THAT(probe().Echo(Number(i), kLong), HoldsNumber(i));
    });
    probe().Echo(Number(100 + i), kLong, outcomes[i].callback());
  }
  std::string answers;
  std::uint32_t last = 0;
  for (int i = 0; i < 2 * kCalls; ++i) {
    const auto frame = peer().MustRead();
    EXPECT_GT(frame.header.stream, last) << "ids only grow";
    last = frame.header.stream;
    Item item;
    EXPECT_TRUE(item.ParseFromString(std::string(frame.request().payload)));
    answers = ReplyFrame(last, item) + answers;
  }
  peer().Send(answers);
  for (std::thread& caller : callers) caller.join();
  for (int i = 0; i < kCalls; ++i) {
    EXPECT_THAT(outcomes[i].Wait(), HoldsNumber(100 + i));
  }
}

TEST_F(TtrpcTransportTest, ManyBlockedCallersTakeTurns) {
  constexpr int kCallers = 16;
  constexpr int kCalls = 100;
  std::thread server([this] {
    std::string answers;
    for (int i = 0; i < kCallers * kCalls; ++i) {
      const auto frame = peer().MustRead();
      Item item;
      EXPECT_TRUE(item.ParseFromString(std::string(frame.request().payload)));
      answers = ReplyFrame(frame.header.stream, item) + answers;
      // All who are in turn are answered at once, the last one first.
      if (peer().IsQuiet()) peer().Send(std::exchange(answers, ""));
    }
    peer().Send(answers);
  });
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([this, i] {
      for (int j = 0; j < kCalls; ++j) {
        const int number = i * kCalls + j;
        EXPECT_THAT(probe().Echo(Number(number), kLong), HoldsNumber(number));
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  server.join();
}

TEST_F(TtrpcTransportTest, WhoseTimeIsOverKeepsNobodyFromReading) {
  std::thread server([this] {
    while (const auto frame = peer().Read()) {
      peer().Send(ReplyFrame(frame->header.stream, Item()));
    }
  });
  // Their deadlines pass before, while and after they are given the turn.
  std::atomic<bool> is_done{false};
  std::vector<std::thread> hurried;
  for (int i = 0; i < 3; ++i) {
    hurried.emplace_back([&, i] {
      for (int j = 1; !is_done; j = (j + i) % 50) {
        EXPECT_THAT(
            probe().Echo({}, {.timeout = absl::Microseconds(j)}),
            AnyOf(IsOk(), StatusIs(absl::StatusCode::kDeadlineExceeded)));
      }
    });
  }
  absl::Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) {
    status = probe().Echo({}, kLong).status();
  }
  EXPECT_THAT(status, IsOk());
  is_done = true;
  for (std::thread& thread : hurried) thread.join();
  // What they asked before is answered first.
  EXPECT_THAT(probe().Echo({}, kLong), IsOk());
  transport_->Close();
  server.join();
}

TEST_F(TtrpcTransportTest, IdsGrowWhenCallbacksCallToo) {
  std::atomic<int> left{200};
  Event done;
  std::function<void(absl::StatusOr<Item>)> again =
      [&](const absl::StatusOr<Item>& reply) {
        EXPECT_THAT(reply, IsOk());
        if (--left <= 0) return done.Set();
        probe().Echo({}, kLong, again);
      };
  for (int i = 0; i < 4; ++i) probe().Echo({}, kLong, again);
  std::thread caller([this] {
    for (int i = 0; i < 100; ++i) EXPECT_THAT(probe().Echo({}, kLong), IsOk());
  });
  std::thread server([this] {
    std::uint32_t last = 0;
    while (const auto frame = peer().Read()) {
      EXPECT_GT(frame->header.stream, last);
      last = frame->header.stream;
      peer().Send(ReplyFrame(last, Item()));
    }
  });
  EXPECT_TRUE(done.Wait());
  caller.join();
  transport_->Close();
  server.join();
}

TEST_F(TtrpcTransportTest, AnErrorKeepsItsDetails) {
  std::thread server([this] {
    absl::Status error = absl::DataLossError("half of it");
    error.SetPayload("type.googleapis.com/tests.wire.Item", absl::Cord("abc"));
    peer().Send(ErrorFrame(peer().MustRead().header.stream, error));
  });
  const absl::Status status = probe().Echo({}).status();
  server.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, "half of it"));
  EXPECT_EQ(status.GetPayload("type.googleapis.com/tests.wire.Item"),
            absl::Cord("abc"));
}

TEST_F(TtrpcTransportTest, AnAnswerThatDoesNotParseEndsItsCallAlone) {
  std::thread server([this] {
    std::string frame = ReplyFrame(peer().MustRead().header.stream, Number(1));
    frame[ttrpc::kHeaderBytes + 2] = '\xff';  // The reply's first tag.
    peer().Send(frame);
    frame = ReplyFrame(peer().MustRead().header.stream, Number(1));
    frame[ttrpc::kHeaderBytes] = '\xff';  // The Response's.
    peer().Send(frame);
    peer().Send(ReplyFrame(peer().MustRead().header.stream, Number(2)));
  });
  EXPECT_THAT(probe().Echo({}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("built from different .proto files")));
  EXPECT_THAT(probe().Echo({}),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("is no answer")));
  EXPECT_THAT(probe().Echo({}), HoldsNumber(2));
  server.join();
}

TEST_F(TtrpcTransportTest, AnOversizedAnswerEndsItsCallAlone) {
  Connect({.peer = "unix:/test.sock", .max_message_bytes = 1000});
  std::thread server([this] {
    peer().Send(ReplyFrame(peer().MustRead().header.stream, Bytes(1001)));
    peer().Send(ReplyFrame(peer().MustRead().header.stream, Bytes(1 << 20)));
    peer().Send(ReplyFrame(peer().MustRead().header.stream, Number(3)));
  });
  const auto too_large = StatusIs(
      absl::StatusCode::kResourceExhausted,
      AllOf(HasSubstr("/tests.wire.Probe/Echo"), HasSubstr("limit of 1000")));
  EXPECT_THAT(probe().Echo({}), too_large);
  EXPECT_THAT(probe().Echo({}), too_large);
  EXPECT_THAT(probe().Echo({}), HoldsNumber(3));
  server.join();
}

TEST_F(TtrpcTransportTest, MetadataThatCannotBeSentIsRefused) {
  EXPECT_THAT(probe().Echo({}, {.metadata = {{"Upper", "1"}}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(TtrpcTransportTest, FramesOfAnUnknownTypeOrCallAreIgnored) {
  std::thread server([this] {
    const std::uint32_t id = peer().MustRead().header.stream;
    std::string unknown = DataFrame(id, Number(1));
    unknown[8] = 77;
    peer().Send(unknown + ReplyFrame(id + 2, Number(2)) +
                DataFrame(id, Number(1)) + CreditFrame(id, 3) +
                ReplyFrame(id, Number(3)));
  });
  EXPECT_THAT(probe().Echo({}), HoldsNumber(3));
  server.join();
}

// Which thread does what.

TEST_F(TtrpcTransportTest, ABlockedCallerRunsNobodysCallback) {
  // After the first time nothing but the caller wakes the thread for it.
  for (int i = 0; i < 5; ++i) {
    Outcome outcome;
    std::thread::id caller_id;
    std::thread caller([&] {
      caller_id = std::this_thread::get_id();
      EXPECT_THAT(probe().Echo({}, kLong), HoldsNumber(1));
    });
    const std::uint32_t blocked = peer().MustRead().header.stream;
    probe().Echo({}, kLong, outcome.callback());
    const std::uint32_t other = peer().MustRead().header.stream;
    peer().Send(ReplyFrame(other, Number(2)) + ReplyFrame(blocked, Number(1)));
    caller.join();
    EXPECT_THAT(outcome.Wait(), HoldsNumber(2));
    EXPECT_NE(outcome.thread, caller_id);
  }
}

TEST_F(TtrpcTransportTest, CallersAndCallbacksAreAnsweredInTurn) {
  std::thread server([this] {
    while (const auto frame = peer().Read()) {
      peer().Send(ReplyFrame(frame->header.stream, Number(1)));
    }
  });
  for (int i = 0; i < 20; ++i) {
    // Leaves the turn to nobody.
    for (int j = 0; j < 3; ++j) {
      EXPECT_THAT(probe().Echo({}, kLong), HoldsNumber(1));
    }
    Outcome outcome;
    probe().Echo({}, kLong, outcome.callback());
    EXPECT_THAT(outcome.Wait(), HoldsNumber(1));
  }
  transport_->Close();
  server.join();
}

TEST_F(TtrpcTransportTest, ACallbackMayBlockForAnotherCall) {
  Event second_ended;
  Outcome third;
  std::atomic<bool> is_within{false};
  probe().Echo({}, kLong, [&](const absl::StatusOr<Item>& reply) {
    is_within = true;
    EXPECT_THAT(probe().Echo({}, kLong), HoldsNumber(2));
    is_within = false;
    second_ended.Set();
  });
  probe().Echo({}, kLong, [&](absl::StatusOr<Item> reply) {
    EXPECT_FALSE(is_within) << "one callback after the other";
    third.callback()(std::move(reply));
  });
  const std::uint32_t first = peer().MustRead().header.stream;
  const std::uint32_t other = peer().MustRead().header.stream;
  peer().Send(ReplyFrame(first, Number(1)));
  const std::uint32_t within = peer().MustRead().header.stream;
  peer().Send(ReplyFrame(other, Number(3)));
  peer().Send(ReplyFrame(within, Number(2)));
  EXPECT_TRUE(second_ended.Wait());
  EXPECT_THAT(third.Wait(), HoldsNumber(3));
}

// The callback waits until the caller who reads gives up the turn to read.
TEST_F(TtrpcTransportTest, ACallbackMayBlockWhileAnotherCallerReads) {
  for (int i = 0; i < 20; ++i) {
    std::thread reader([this] {
      EXPECT_THAT(probe().Echo(Number(1), kLong), HoldsNumber(1));
    });
    std::map<std::int64_t, std::uint32_t> ids;
    const auto take = [&] {
      const auto frame = peer().MustRead();
      Item item;
      EXPECT_TRUE(item.ParseFromString(std::string(frame.request().payload)));
      ids[item.number()] = frame.header.stream;
    };
    take();
    Event ended;
    probe().Echo(Number(2), {.timeout = absl::Milliseconds(1)},
                 [&](const absl::StatusOr<Item>& late) {
                   EXPECT_THAT(late,
                               StatusIs(absl::StatusCode::kDeadlineExceeded));
                   EXPECT_THAT(probe().Echo(Number(3), kLong), HoldsNumber(3));
                   ended.Set();
                 });
    Outcome other;
    probe().Echo(Number(4), kLong, other.callback());
    for (int frame = 0; frame < 3; ++frame) take();
    peer().Send(ReplyFrame(ids[1], Number(1)));
    reader.join();
    peer().Send(ReplyFrame(ids[3], Number(3)));
    EXPECT_TRUE(ended.Wait());
    peer().Send(ReplyFrame(ids[4], Number(4)));
    EXPECT_THAT(other.Wait(), HoldsNumber(4));
  }
}

TEST_F(TtrpcTransportTest, TheTransportMayBeDestroyedWithinACallback) {
  Event ended;
  probe().Echo({}, kLong, [&](const absl::StatusOr<Item>& reply) {
    EXPECT_THAT(reply, HoldsNumber(1));
    transport_ = nullptr;
    ended.Set();
  });
  peer().Send(ReplyFrame(peer().MustRead().header.stream, Number(1)));
  EXPECT_TRUE(ended.Wait());
  EXPECT_FALSE(peer().Read().has_value()) << "closed";
}

// Deadlines and cancellation.

TEST_F(TtrpcTransportTest, ABlockedCallerIsNotLateForItsDeadline) {
  for (const int milliseconds : {1, 50, 300}) {
    const absl::Time begin = absl::Now();
    EXPECT_THAT(
        probe().Echo({}, {.timeout = absl::Milliseconds(milliseconds)}),
        StatusIs(absl::StatusCode::kDeadlineExceeded,
                 HasSubstr(absl::StrCat("within ", milliseconds, "ms"))));
    EXPECT_GE(absl::Now() - begin, absl::Milliseconds(milliseconds));
  }
}

TEST_F(TtrpcTransportTest, DeadlinesPassWhileAnotherCallerReads) {
  std::thread reader(
      [this] { EXPECT_THAT(probe().Echo({}, kLong), HoldsNumber(1)); });
  const std::uint32_t id = peer().MustRead().header.stream;
  Outcome outcome;
  probe().Echo({}, {.timeout = absl::Milliseconds(10)}, outcome.callback());
  EXPECT_THAT(probe().Echo({}, {.timeout = absl::Milliseconds(10)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(outcome.Wait(), StatusIs(absl::StatusCode::kDeadlineExceeded));
  peer().Send(ReplyFrame(id, Number(1)));
  reader.join();
}

TEST_F(TtrpcTransportTest, ALateAnswerIsNobodys) {
  EXPECT_THAT(probe().Echo({}, {.timeout = absl::Milliseconds(1)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  peer().Send(ReplyFrame(peer().MustRead().header.stream, Number(1)));
  std::thread server([this] {
    peer().Send(ReplyFrame(peer().MustRead().header.stream, Number(2)));
  });
  EXPECT_THAT(probe().Echo({}), HoldsNumber(2));
  server.join();
}

TEST_F(TtrpcTransportTest, WhatIsGivenUpIsSaidOnceThatIsAgreed) {
  Agree();
  Cancellation cancellation;
  Outcome outcome;
  probe().Echo({}, {.cancellation = cancellation}, outcome.callback());
  const std::uint32_t id = peer().MustRead().header.stream;
  cancellation.Cancel();
  EXPECT_THAT(outcome.Wait(), StatusIs(absl::StatusCode::kCancelled));
  const auto frame = peer().MustRead();
  EXPECT_EQ(frame.header.stream, id);
  EXPECT_EQ(frame.header.type, ttrpc::kData);
  EXPECT_EQ(frame.header.flags, ttrpc::kRemoteClosed | ttrpc::kNoData);
}

TEST_F(TtrpcTransportTest, WhatIsGivenUpBeforeTheAnswerToHelloIsSaidAfterIt) {
  v1::HelloRequest hello;
  transport_->Offer(hello);
  EXPECT_THAT(probe().Echo({}, {.timeout = absl::Milliseconds(1)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  const std::uint32_t id = peer().MustRead().header.stream;
  EXPECT_TRUE(peer().IsQuiet());
  Agree();
  const auto frame = peer().MustRead();
  EXPECT_EQ(frame.header.stream, id);
  EXPECT_EQ(frame.header.flags, ttrpc::kRemoteClosed | ttrpc::kNoData);
}

TEST_F(TtrpcTransportTest, WithoutAgreementOnlyTheDeadlineFreesTheServer) {
  v1::HelloRequest hello;
  transport_->Offer(hello);
  transport_->set_hello(absl::UnimplementedError("no Hello here"));
  EXPECT_THAT(probe().Echo({}, {.timeout = absl::Milliseconds(1)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  peer().MustRead();
  { auto stream = probe().Linger({}, {}); }
  peer().MustRead();
  EXPECT_TRUE(peer().IsQuiet());
}

// Streams.

TEST_F(TtrpcTransportTest, AServerStreamEndsWithAClosedFrame) {
  auto stream = probe().Count(Number(2), {});
  const auto frame = peer().MustRead();
  EXPECT_EQ(frame.header.flags, ttrpc::kRemoteClosed);
  const std::uint32_t id = frame.header.stream;
  peer().Send(DataFrame(id, Number(0)) + DataFrame(id, Number(1)) +
              ClosedFrame(id));
  Item item;
  ASSERT_TRUE(stream.Read(&item));
  ASSERT_TRUE(stream.Read(&item));
  EXPECT_EQ(item.number(), 1);
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(), IsOk());
  EXPECT_FALSE(transport_->has_calls());
}

TEST_F(TtrpcTransportTest, AClientStreamIsAnsweredByAResponse) {
  auto stream = probe().Sum({});
  const auto request = peer().MustRead();
  EXPECT_EQ(request.header.flags, ttrpc::kRemoteOpen);
  ASSERT_THAT(stream.Write(Number(5)), IsOk());
  EXPECT_EQ(peer().MustRead().data, Number(5).SerializeAsString());
  std::thread server([&] {
    EXPECT_EQ(peer().MustRead().header.flags,
              ttrpc::kRemoteClosed | ttrpc::kNoData);
    peer().Send(ReplyFrame(request.header.stream, Item()));
  });
  EXPECT_THAT(stream.Finish(), HoldsNumber(0));
  server.join();
}

TEST_F(TtrpcTransportTest, CreditHoldsAWriterBackUntilMoreIsGranted) {
  Agree();
  auto stream = probe().Sum({});
  const std::uint32_t id = peer().MustRead().header.stream;
  for (std::uint32_t i = 0; i < ttrpc::kInitialCredit; ++i) {
    ASSERT_THAT(stream.TryWrite(Number(1)), IsOk());
  }
  EXPECT_THAT(stream.TryWrite(Number(1)),
              StatusIs(absl::StatusCode::kResourceExhausted));
  Event writable;
  stream.OnWritable([&] { writable.Set(); });
  EXPECT_FALSE(writable.is_set());
  auto neighbour = probe().Sum({});
  EXPECT_THAT(neighbour.TryWrite(Number(1)), IsOk());
  peer().Send(CreditFrame(id, 2));
  EXPECT_TRUE(writable.Wait());
  EXPECT_THAT(stream.TryWrite(Number(1)), IsOk());
  EXPECT_THAT(stream.TryWrite(Number(1)), IsOk());
  EXPECT_THAT(stream.TryWrite(Number(1)),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(TtrpcTransportTest, ThatThereIsNoCreditIsLearnedFromHello) {
  v1::HelloRequest hello;
  transport_->Offer(hello);
  auto stream = probe().Sum({});
  absl::Status sent;
  while (sent.ok()) sent = stream.TryWrite(Number(1));
  EXPECT_THAT(sent, StatusIs(absl::StatusCode::kResourceExhausted));
  Event writable;
  stream.OnWritable([&] { writable.Set(); });
  transport_->set_hello(v1::HelloReply());
  EXPECT_TRUE(writable.Wait());
  for (int i = 0; i < 1000; ++i) {
    ASSERT_THAT(stream.TryWrite(Number(1)), IsOk());
  }
}

TEST_F(TtrpcTransportTest, CreditIsGrantedForWhatWasRead) {
  Agree();
  auto stream = probe().Count({}, {});
  const std::uint32_t id = peer().MustRead().header.stream;
  for (std::uint32_t i = 0; i < ttrpc::kInitialCredit; ++i) {
    peer().Send(DataFrame(id, Number(i)));
  }
  Item item;
  std::uint32_t granted = 0;
  for (std::uint32_t i = 0; i < ttrpc::kInitialCredit; ++i) {
    ASSERT_TRUE(stream.Read(&item));
  }
  while (granted < ttrpc::kInitialCredit) {
    const auto frame = peer().MustRead();
    ASSERT_EQ(frame.header.type, ttrpc::kCredit);
    EXPECT_EQ(frame.header.stream, id);
    granted += ttrpc::ParseCredit(frame.data);
  }
  EXPECT_EQ(granted, ttrpc::kInitialCredit);
}

TEST_F(TtrpcTransportTest, AServerThatSendsBeyondItsCreditEndsTheStream) {
  Agree();
  auto stream = probe().Count({}, {});
  const std::uint32_t id = peer().MustRead().header.stream;
  for (std::uint32_t i = 0; i <= ttrpc::kInitialCredit; ++i) {
    peer().Send(DataFrame(id, Number(i)));
  }
  // Its end is on its way once the server is told.
  EXPECT_EQ(peer().MustRead().header.type, ttrpc::kData);
  Item item;
  while (stream.Read(&item)) {
  }
  EXPECT_THAT(stream.status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("credit")));
}

TEST_F(TtrpcTransportTest, AStreamThatIsNotReadFailsAlone) {
  auto stream = probe().Count({}, {});
  const std::uint32_t id = peer().MustRead().header.stream;
  for (int i = 0; i < 9; ++i) peer().Send(DataFrame(id, Bytes(1 << 20)));
  std::thread server([this] {
    peer().Send(ReplyFrame(peer().MustRead().header.stream, Number(1)));
  });
  EXPECT_THAT(probe().Echo({}, kLong), HoldsNumber(1));
  server.join();
  Item item;
  while (stream.Read(&item)) {
  }
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kResourceExhausted,
                                        HasSubstr("unread")));
}

TEST_F(TtrpcTransportTest, AnAbandonedStreamIsClosedAndThenCancelled) {
  Agree();
  { auto stream = probe().Chat({}); }
  peer().MustRead();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(peer().MustRead().header.flags,
              ttrpc::kRemoteClosed | ttrpc::kNoData);
  }
  { auto stream = probe().Linger({}, {}); }
  peer().MustRead();
  EXPECT_EQ(peer().MustRead().header.flags,
            ttrpc::kRemoteClosed | ttrpc::kNoData);
  EXPECT_TRUE(peer().IsQuiet());
}

// Sizes.

TEST_F(TtrpcTransportTest, WithoutAgreementAMessageFitsIntoFourMebibytes) {
  EXPECT_THAT(probe().Echo(Bytes(4 << 20)),
              StatusIs(absl::StatusCode::kResourceExhausted));
  auto stream = probe().Sum({});
  EXPECT_THAT(stream.Write(Bytes(4 << 20)),
              StatusIs(absl::StatusCode::kInvalidArgument));
  std::thread server([this] {
    peer().MustRead();
    const auto frame = peer().MustRead();
    EXPECT_LE(frame.header.data_bytes, ttrpc::kMaxPlainData);
    peer().Send(ReplyFrame(frame.header.stream, Number(1)));
  });
  EXPECT_THAT(probe().Echo(Bytes((4 << 20) - (10 << 10)), kLong),
              HoldsNumber(1));
  server.join();
}

TEST_F(TtrpcTransportTest, WithAgreementAMessageMayBeLarger) {
  Agree();
  std::thread server([this] {
    const auto frame = peer().MustRead();
    peer().Send(ReplyFrame(frame.header.stream, Bytes(20 << 20)));
  });
  const auto reply = probe().Echo(Bytes(20 << 20), kLong);
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->data().size(), 20u << 20);
  server.join();
}

TEST_F(TtrpcTransportTest, AServerThatDoesNotReadBlocksNobody) {
  Agree();
  absl::Status refused;
  std::atomic<int> unanswered{0};
  Event all_ended;
  for (int i = 0; refused.ok() && i < 1000; ++i) {
    ++unanswered;
    probe().Echo(Bytes(1 << 20), kLong, [&](const absl::StatusOr<Item>& reply) {
      if (absl::IsResourceExhausted(reply.status())) refused = reply.status();
      if (--unanswered == 0) all_ended.Set();
    });
  }
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted,
                                HasSubstr("reads too slowly")));
  transport_->Close();
  EXPECT_TRUE(all_ended.Wait());
}

TEST_F(TtrpcTransportTest, AWriterThatIsHeldBackByTheSocketIsTold) {
  auto stream = probe().Sum({});
  absl::Status sent;
  while (sent.ok()) sent = stream.TryWrite(Bytes(10000));
  EXPECT_THAT(sent, StatusIs(absl::StatusCode::kResourceExhausted));
  Event writable;
  stream.OnWritable([&] { writable.Set(); });
  EXPECT_FALSE(writable.is_set());
  std::thread server([this] {
    while (peer().Read().has_value()) {
    }
  });
  EXPECT_TRUE(writable.Wait());
  EXPECT_THAT(stream.TryWrite(Bytes(10000)), IsOk());
  transport_->Close();
  server.join();
}

// The end.

TEST_F(TtrpcTransportTest, APeerThatSpeaksHttp2IsNamed) {
  // The SETTINGS that a gRPC server begins with.
  peer().Send(std::string_view("\0\0\x06\x04\0\0\0\0\0\0\x04\0\x40\0\0", 15));
  EXPECT_THAT(
      probe().Echo({}),
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("does not speak ttrpc"), HasSubstr("gRPC"))));
  EXPECT_TRUE(transport_->is_over());
}

TEST_F(TtrpcTransportTest, TheEndIsNoticedWithoutACall) {
  EXPECT_FALSE(transport_->is_over());
  EXPECT_FALSE(transport_->WaitOver(absl::Milliseconds(1)));
  peer().Close();
  EXPECT_TRUE(transport_->is_over());
  EXPECT_TRUE(transport_->WaitOver(absl::Seconds(30)));
  EXPECT_THAT(probe().Echo({}), StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(TtrpcTransportTest, ClosingEndsCallsOfEveryKind) {
  Outcome outcome;
  probe().HangLater({}, kLong, outcome.callback());
  auto stream = probe().Linger({}, {});
  std::thread caller([this] {
    EXPECT_THAT(probe().Hang({}, kLong),
                StatusIs(absl::StatusCode::kUnavailable));
  });
  for (int i = 0; i < 3; ++i) peer().MustRead();
  EXPECT_TRUE(transport_->has_calls());
  transport_->Close();
  caller.join();
  EXPECT_THAT(outcome.Wait(), StatusIs(absl::StatusCode::kUnavailable));
  Item item;
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(probe().Echo({}), StatusIs(absl::StatusCode::kUnavailable));
}

// Calls of every kind, and all that a server says to them.
class TornConnectionTest : public TtrpcTransportTest {
 protected:
  struct Outcomes {
    absl::StatusOr<Item> blocked = absl::UnknownError("not ended");
    Outcome callback;
    std::vector<std::int64_t> streamed;
    absl::Status stream;
    absl::StatusOr<Item> summed = absl::UnknownError("not ended");
  };

  // Begins the calls, has `answer` send what `Answers()` are, waits until the
  // calls have ended.
  template <typename Answer>
  void Run(Outcomes* outcomes, Answer answer) {
    probe().Echo({}, kLong, outcomes->callback.callback());
    auto counting = probe().Count(Number(3), {});
    auto summing = probe().Sum({});
    for (int i = 0; i < 3; ++i) peer().MustRead();
    std::thread caller([&] { outcomes->blocked = probe().Echo({}, kLong); });
    peer().MustRead();
    answer();
    caller.join();
    outcomes->callback.Wait();
    Item item;
    while (counting.Read(&item)) outcomes->streamed.push_back(item.number());
    outcomes->stream = counting.status();
    outcomes->summed = summing.Finish();
  }

  // In the order in which Run() begins them, the ids are 1, 3, 5 and 7.
  static std::string Answers() {
    return ReplyFrame(7, Number(70)) + DataFrame(3, Number(30)) +
           ReplyFrame(5, Number(50)) + CreditFrame(3, 1) +
           DataFrame(3, Number(31)) + ReplyFrame(1, Number(10)) +
           DataFrame(3, Number(32)) + ClosedFrame(3);
  }

  static void ExpectAllAnswered(const Outcomes& outcomes) {
    EXPECT_THAT(outcomes.blocked, HoldsNumber(70));
    EXPECT_THAT(outcomes.callback.reply, HoldsNumber(10));
    EXPECT_THAT(outcomes.streamed, ::testing::ElementsAre(30, 31, 32));
    EXPECT_THAT(outcomes.stream, IsOk());
    EXPECT_THAT(outcomes.summed, HoldsNumber(50));
  }
};

TEST_F(TornConnectionTest, AtEachByteEveryCallThatHasNoAnswerIsUnavailable) {
  const std::string answers = Answers();
  // Without those of SetUp(): both ends, and an eventfd(2).
  const std::size_t descriptors = OpenDescriptors().size() - 3;
  int unanswered = 0;
  for (std::size_t cut = 0; cut <= answers.size(); ++cut) {
    SCOPED_TRACE(cut);
    Connect({.peer = "unix:/test.sock"});
    Outcomes outcomes;
    Run(&outcomes, [&] {
      peer().Send(std::string_view(answers).substr(0, cut));
      peer().Close();
    });
    for (const absl::Status& status :
         {outcomes.blocked.status(), outcomes.callback.reply.status(),
          outcomes.stream, outcomes.summed.status()}) {
      if (status.ok()) continue;
      ++unanswered;
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
    }
    if (cut == answers.size()) ExpectAllAnswered(outcomes);
    EXPECT_FALSE(transport_->has_calls());
    // Whoever reads may have to notice.
    EXPECT_TRUE(Eventually([&] { return transport_->is_over(); }));
    transport_ = nullptr;
    EXPECT_TRUE(
        Eventually([&] { return OpenDescriptors().size() == descriptors; }));
  }
  EXPECT_GT(unanswered, static_cast<int>(answers.size()));
}

TEST_F(TornConnectionTest, ByteByByteMeansTheSame) {
  Outcomes outcomes;
  Run(&outcomes, [this] {
    for (const char& byte : Answers()) {
      peer().Send(std::string_view(&byte, 1));
    }
  });
  ExpectAllAnswered(outcomes);
}

TEST_F(TornConnectionTest, SplitAnywhereMeansTheSame) {
  const std::string answers = Answers();
  for (std::size_t cut = 1; cut < answers.size(); ++cut) {
    SCOPED_TRACE(cut);
    Connect({.peer = "unix:/test.sock"});
    Outcomes outcomes;
    Run(&outcomes, [&] {
      peer().Send(std::string_view(answers).substr(0, cut));
      std::this_thread::yield();
      peer().Send(std::string_view(answers).substr(cut));
    });
    ExpectAllAnswered(outcomes);
  }
}

}  // namespace
}  // namespace tests::wire

// What only gRPC can do to its users: peers with other contracts, peers that
// are no peers, connections that end.

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/generic_stub.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/client/call.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/wire/grpc/grpc_status.h"
#include "tests/rpc/wire/other.tandem.h"
#include "tests/rpc/wire/probe.tandem.h"
#include "tests/rpc/wire/worlds.h"

namespace tests::wire {
namespace {

using ::tandem::rpc::CallAndWait;
using ::tandem::rpc::GrpcTransport;
using ::tandem::rpc::Method;
using ::tandem::rpc::UniqueFd;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Method Row(std::string_view name) {
  for (const Method& method : ProbeHandler::Table().methods) {
    if (method.name == name) return method;
  }
  std::abort();
}

std::pair<UniqueFd, UniqueFd> SocketPair() {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::unique_ptr<GrpcTransport> TransportOver(UniqueFd connection) {
  return *GrpcTransport::Create(std::move(connection),
                                {.peer = "unix:/test.sock"});
}

int OpenDescriptors() {
  int count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    (void)entry;
    ++count;
  }
  return count;
}

class GrpcTest : public ::testing::Test {
 protected:
  // What the server says to these bytes as the request of `path`.
  absl::Status SendRaw(const std::string& path, const std::string& bytes) {
    auto channel = grpc::CreateCustomInsecureChannelFromFd(
        "raw", world_.Connect().Release(), {});
    grpc::GenericStub stub(channel);
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer reply;
    grpc::ClientContext context;
    absl::Status status;
    Event done;
    stub.UnaryCall(&context, path, {}, &request, &reply,
                   [&](const grpc::Status& end) {
                     status = tandem::rpc::FromGrpc(end);
                     done.Set();
                   });
    EXPECT_TRUE(done.Wait());
    return status;
  }

  ProbeService service_;
  GrpcWorld world_{service_};
  ProbeClient probe_{world_.transport()};
};

TEST_F(GrpcTest, BytesThatAreNoRequestAreRefusedWithTheirType) {
  EXPECT_THAT(SendRaw("/tests.wire.Probe/Echo", "\xff\xff\xff"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("/tests.wire.Probe/Echo"),
                             HasSubstr("tests.wire.Item"))));
  EXPECT_THAT(SendRaw("/tests.wire.Probe/Count", "\xff\xff\xff"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("/tests.wire.Probe/Count"),
                             HasSubstr("tests.wire.Item"))));
  EXPECT_EQ(service_.calls, 0);
}

TEST_F(GrpcTest, WithoutACallerNothingIsParsedAndNothingRuns) {
  world_.RefuseAll();
  for (const char* path :
       {"/tests.wire.Probe/Echo", "/tests.wire.Probe/EchoInline",
        "/tests.wire.Probe/Count", "/tests.wire.Probe/Chat"}) {
    EXPECT_THAT(SendRaw(path, "\xff\xff\xff"),
                StatusIs(absl::StatusCode::kPermissionDenied));
  }
  EXPECT_THAT(probe_.Echo(Item()),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_EQ(service_.calls, 0);
}

TEST_F(GrpcTest, RequestWithAChangedFieldIsRefusedAndNamed) {
  Method echo = other::ChangedHandler::Table().methods[0];
  echo.path = "/tests.wire.Probe/Echo";
  other::Item item;
  item.set_number("seven");
  EXPECT_THAT(
      CallAndWait<other::Item>(world_.transport(), echo, item, {}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("/tests.wire.Probe/Echo"),
                     HasSubstr("field 1 'number' of tests.wire.Item came as "
                               "length-delimited"),
                     HasSubstr("expects int64"))));
  EXPECT_EQ(service_.calls, 0);
}

TEST_F(GrpcTest, StreamedMessageWithAChangedFieldEndsTheStream) {
  Method chat = Row("Chat");
  other::Item item;
  item.set_number("seven");
  auto stream = world_.transport().Open(chat, nullptr, {});
  ASSERT_THAT(stream->Send(item), IsOk());
  Item reply;
  EXPECT_FALSE(tandem::rpc::ReceiveAndWait(*stream, &reply));
  EXPECT_THAT(stream->status(), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("'number'")));
}

TEST_F(GrpcTest, ReplyWithAChangedFieldFailsThePreconditionAndIsNamed) {
  Item item;
  item.set_number(7);
  EXPECT_THAT(
      CallAndWait<other::Item>(world_.transport(), Row("Echo"), item, {}),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("field 1 'number' of tests.wire.other.Item came as a "
                         "varint, but this program expects string")));
  auto stream = world_.transport().Open(Row("Linger"), &item, {});
  other::Item event;
  EXPECT_FALSE(tandem::rpc::ReceiveAndWait(*stream, &event));
  EXPECT_THAT(stream->status(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                         HasSubstr("'number'")));
}

TEST_F(GrpcTest, AddedFieldJustWorks) {
  Method echo = other::WiderHandler::Table().methods[0];
  echo.path = "/tests.wire.Probe/Echo";
  other::WiderItem item;
  item.set_number(7);
  item.set_added("new");
  auto reply =
      CallAndWait<other::WiderItem>(world_.transport(), echo, item, {});
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->number(), 7);
}

TEST_F(GrpcTest, MethodThatIsGoneNamesItselfAndThePeer) {
  Method gone = other::GoneHandler::Table().methods[0];
  gone.path = "/tests.wire.Probe/Vanished";
  gone.service = "tests.wire.Probe";
  const auto transport = world_.NewTransport();
  const auto call = [&] {
    return CallAndWait<other::Item>(*transport, gone, other::Item(), {})
        .status();
  };
  const std::string start =
      "unix:/test.sock has no method /tests.wire.Probe/Vanished";
  EXPECT_THAT(call(),
              StatusIs(absl::StatusCode::kUnimplemented,
                       start + "; it may be built from another .proto"));
  tandem::rpc::v1::HelloReply hello;
  transport->set_hello(hello);
  EXPECT_THAT(call(), StatusIs(absl::StatusCode::kUnimplemented,
                               start + "; it does not serve tests.wire.Probe"));
  auto& service = *hello.add_services();
  service.set_name("tests.wire.Probe");
  service.set_fingerprint(std::string(ProbeHandler::Table().fingerprint));
  transport->set_hello(hello);
  EXPECT_THAT(call(), StatusIs(absl::StatusCode::kUnimplemented,
                               start + "; it was built from another .proto"));
  auto stream = transport->Open(gone, nullptr, {});
  other::Item item;
  EXPECT_FALSE(tandem::rpc::ReceiveAndWait(*stream, &item));
  EXPECT_THAT(stream->status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(start)));
}

TEST_F(GrpcTest, LongErrorMessageIsCutAndArrives) {
  Failure failure;
  failure.set_code(static_cast<int>(absl::StatusCode::kAborted));
  failure.set_message(std::string(100'000, '\n'));
  EXPECT_THAT(probe_.Fail(failure), StatusIs(absl::StatusCode::kAborted,
                                             std::string(2048, '\n') + "..."));
}

TEST(GrpcTransportTest, DeadlinePassesThoughThePeerSaysNothing) {
  auto [ours, theirs] = SocketPair();
  const auto transport = TransportOver(std::move(ours));
  ProbeClient probe(*transport);
  EXPECT_THAT(probe.Echo(Item(), {.timeout = absl::Milliseconds(50)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       AllOf(HasSubstr("unix:/test.sock"), HasSubstr("50ms"))));
  auto stream = probe.Count(Item(), {.timeout = absl::Milliseconds(50)});
  Item item;
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_FALSE(transport->is_over());
}

TEST(GrpcTransportTest, PeerThatSpeaksAnotherProtocolIsUnavailable) {
  for (const std::string answer :
       {"HTTP/1.1 400 Bad Request\r\n\r\n", "\x01\x02\x03 no HTTP at all"}) {
    auto [ours, theirs] = SocketPair();
    const auto transport = TransportOver(std::move(ours));
    ASSERT_EQ(::write(theirs.get(), answer.data(), answer.size()),
              static_cast<ssize_t>(answer.size()));
    EXPECT_THAT(
        ProbeClient(*transport).Echo(Item()),
        StatusIs(absl::StatusCode::kUnavailable, HasSubstr("unix:/test.sock")));
    EXPECT_TRUE(transport->is_refused() || transport->is_over());
  }
}

TEST(GrpcTransportTest, DeathOfThePeerEndsCallsAndStreams) {
  auto [ours, theirs] = SocketPair();
  const auto transport = TransportOver(std::move(ours));
  ProbeClient probe(*transport);
  auto stream = probe.Count(Item());
  absl::Status ended;
  Event done;
  probe.Echo(Item(), {.timeout = absl::Seconds(60)},
             [&](absl::StatusOr<Item> reply) {
               ended = reply.status();
               done.Set();
             });
  EXPECT_FALSE(transport->is_over());
  EXPECT_FALSE(transport->WaitOver(absl::Milliseconds(10)));
  std::thread killer([&theirs = theirs] { theirs.Reset(); });
  EXPECT_TRUE(transport->WaitOver(absl::Seconds(30)));
  killer.join();
  EXPECT_TRUE(transport->is_over());
  ASSERT_TRUE(done.Wait());
  EXPECT_THAT(ended, StatusIs(absl::StatusCode::kUnavailable,
                              AllOf(HasSubstr("unix:/test.sock"),
                                    HasSubstr("/tests.wire.Probe/Echo"))));
  Item item;
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_TRUE(transport->is_refused());
  EXPECT_THAT(probe.Echo(Item()), StatusIs(absl::StatusCode::kUnavailable,
                                           HasSubstr("unix:/test.sock")));
  EXPECT_FALSE(probe.Count(Item()).Read(&item));
}

TEST(GrpcTransportTest, CloseWakesWhoWaitsForTheEnd) {
  auto [ours, theirs] = SocketPair();
  const auto transport = TransportOver(std::move(ours));
  std::thread closer([&] { transport->Close(); });
  EXPECT_TRUE(transport->WaitOver(absl::InfiniteDuration()));
  closer.join();
  transport->Close();
}

TEST_F(GrpcTest, UnavailableFromAHandlerDoesNotEndTheConnection) {
  const auto transport = world_.NewTransport();
  ProbeClient probe(*transport);
  Failure failure;
  failure.set_code(static_cast<int>(absl::StatusCode::kUnavailable));
  failure.set_message("try later");
  EXPECT_THAT(probe.Fail(failure),
              StatusIs(absl::StatusCode::kUnavailable, "try later"));
  EXPECT_FALSE(transport->is_over());
  EXPECT_THAT(probe.Echo(Item()), IsOk());
}

TEST_F(GrpcTest, TransportMayGoWithItsLastCallOnGrpcsThread) {
  for (int i = 0; i < 20; ++i) {
    auto transport = world_.NewTransport();
    Event done;
    ProbeClient(*transport).Echo(Item(), {}, [&](absl::StatusOr<Item> reply) {
      EXPECT_THAT(reply, IsOk());
      transport = nullptr;
      done.Set();
    });
    ASSERT_TRUE(done.Wait());
  }
}

TEST_F(GrpcTest, ClientsThatDieAtAnyMomentLeaveNothingBehind) {
  // Once, so that what is made once is made.
  ASSERT_THAT(ProbeClient(*world_.NewTransport()).Echo(Item()), IsOk());
  const int before = OpenDescriptors();
  for (int i = 0; i < 100; ++i) {
    auto transport = world_.NewTransport();
    ProbeClient probe(*transport);
    const auto ignore = [](const absl::StatusOr<Item>&) {};
    Item big;
    big.set_data(std::string(200'000, 'x'));
    probe.Echo(big, {}, ignore);
    probe.EchoLater(big, {}, ignore);
    probe.HangLater(Item(), {}, ignore);
    Item many;
    many.set_number(10'000);
    auto count = probe.Count(many);
    auto flood = probe.Flood(big);
    auto sum = probe.Sum();
    auto chat = probe.Chat();
    (void)sum.TryWrite(big);
    (void)chat.TryWrite(big);
    Item item;
    for (int j = 0; j < i % 5; ++j) count.Read(&item);
    if (i % 3 == 0) std::this_thread::yield();
    transport->Close();
  }
  // The server lets go of each once its handlers have ended.
  for (int i = 0; i < 3000 && OpenDescriptors() > before; ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_LE(OpenDescriptors(), before);
  EXPECT_THAT(probe_.Echo(Item()), IsOk());
}

TEST_F(GrpcTest, ServerThatStopsEndsStreamsOfHandlersThatKeepThem) {
  auto world = std::make_unique<GrpcWorld>(service_);
  auto transport = world->NewTransport();
  ProbeClient probe(*transport);
  auto stream = probe.Linger(Item());
  Item item;
  ASSERT_TRUE(stream.Read(&item));
  world = nullptr;
  EXPECT_TRUE(service_.cancelled.Wait());
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("unix:/test.sock broke before the answer")));
  EXPECT_THAT(probe.Echo(Item()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("is closed")));
}

}  // namespace
}  // namespace tests::wire

#include "rpc/client/channel.h"

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/version.h"
#include "rpc/server/server.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "rpc/wire/grpc/grpc_service.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/support/descriptors.h"
#include "tests/support/eventually.h"

namespace tandem::rpc {
namespace {

using test::Eventually;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::ProcessPair;
using testing::StatusIs;
using tests::wire::Event;
using tests::wire::Item;
using tests::wire::ProbeClient;
using tests::wire::ProbeService;

// The outcome of an asynchronous call.
class Outcome {
 public:
  template <typename R>
  void operator=(const absl::StatusOr<R>& reply) {
    status_ = reply.status();
    event_.Set();
  }
  // Waits for it.
  absl::Status status() {
    return event_.Wait() ? status_
                         : absl::InternalError("the call has not ended");
  }

 private:
  Event event_;
  absl::Status status_;
};

class ChannelTest : public ::testing::Test {
 protected:
  void SetUp() override { channel_ = Connect(); }

  std::unique_ptr<Channel> Connect(ChannelOptions options = {}) const {
    return *Channel::Connect(dir_.Address("s"), options);
  }
  void StartServer(ServerOptions options = {}) {
    options.address = dir_.Address("s");
    options.services = {Serve(probe_)};
    auto server = Server::Start(std::move(options));
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  absl::Status Echo(const CallOptions& options = {}) {
    return ProbeClient(*channel_).Echo({}, options).status();
  }
  static constexpr CallOptions kWait = {.timeout = absl::Seconds(30),
                                        .wait_for_ready = true};

  testing::TempDir dir_;
  ProbeService probe_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(ChannelTest, RefusesWhatIsNoAddress) {
  EXPECT_THAT(Channel::Connect("localhost:1"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ChannelTest, WithoutAServerACallFailsAtOnceAndNamesThePath) {
  EXPECT_THAT(Echo({.timeout = absl::Hours(1)}),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("/tests.wire.Probe/Echo"),
                             HasSubstr(dir_.File("s")),
                             HasSubstr("is the server running?"))));
}

TEST_F(ChannelTest, TheServerMayStartAfterTheChannel) {
  EXPECT_THAT(Echo(), StatusIs(absl::StatusCode::kUnavailable));
  StartServer();
  EXPECT_THAT(Echo(), IsOk());
}

TEST_F(ChannelTest, ManyThreadsShareOneConnection) {
  StartServer();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this] {
      for (int j = 0; j < 20; ++j) EXPECT_THAT(Echo(), IsOk());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(probe_.last_caller().connection_id, 1u);
}

TEST_F(ChannelTest, ANewServerIsFoundByTheNextCall) {
  for (int i = 0; i < 5; ++i) {
    StartServer();
    EXPECT_THAT(Echo(), IsOk());
    server_.reset();
    EXPECT_THAT(Echo(), StatusIs(absl::StatusCode::kUnavailable));
  }
}

TEST_F(ChannelTest, AnUnavailableHandlerCostsAtMostANewConnection) {
  StartServer();
  tests::wire::Failure failure;
  failure.set_code(static_cast<int>(absl::StatusCode::kUnavailable));
  const std::size_t before = test::OpenDescriptors().size();
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(ProbeClient(*channel_).Fail(failure, {}),
                StatusIs(absl::StatusCode::kUnavailable));
    EXPECT_THAT(Echo(), IsOk());
  }
  channel_.reset();
  EXPECT_TRUE(
      Eventually([&] { return test::OpenDescriptors().size() <= before; }));
}

TEST_F(ChannelTest, AStreamSurvivesAnUnavailableNeighbour) {
  StartServer();
  auto stream = ProbeClient(*channel_).Linger({}, {});
  Item item;
  ASSERT_TRUE(stream.Read(&item));
  tests::wire::Failure failure;
  failure.set_code(static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_THAT(ProbeClient(*channel_).Fail(failure, {}),
              StatusIs(absl::StatusCode::kUnavailable));
  for (int i = 0; i < 3; ++i) EXPECT_THAT(Echo(), IsOk());
  EXPECT_EQ(stream.status(), absl::OkStatus()) << "still open";
  stream.Cancel();
  EXPECT_FALSE(stream.Read(&item));
}

// Who the server is.

TEST_F(ChannelTest, AServerOfAnotherUidIsRefusedAtOnce) {
  StartServer();
  channel_ = Connect({.server_uid = ::geteuid() + 1});
  const auto denied =
      StatusIs(absl::StatusCode::kPermissionDenied,
               HasSubstr(absl::StrCat("runs as uid ", ::geteuid())));
  EXPECT_THAT(Echo(), denied);
  EXPECT_THAT(Echo(kWait), denied);
  EXPECT_THAT(channel_->WaitForConnected(absl::Hours(1)), denied);
  EXPECT_THAT(channel_->OpenSession(absl::Hours(1)), denied);
  EXPECT_EQ(probe_.calls, 0);
}

TEST_F(ChannelTest, ASocketThatOthersCouldReplaceIsSentNothing) {
  StartServer();
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0777), 0);
  EXPECT_THAT(Echo(), StatusIs(absl::StatusCode::kPermissionDenied,
                               HasSubstr("nothing was sent")));
  EXPECT_EQ(probe_.calls, 0);
  channel_ = Connect({.allow_shared_directory = "a test"});
  EXPECT_THAT(Echo(), IsOk());
}

TEST_F(ChannelTest, AServerThatDoesNotLetUsInIsSaidSo) {
  StartServer({.access = AccessPolicy()});
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(Echo(), StatusIs(absl::StatusCode::kUnavailable,
                                 HasSubstr("is not let in")));
  }
  EXPECT_THAT(Echo({.timeout = absl::Milliseconds(50), .wait_for_ready = true}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

// Hello.

TEST_F(ChannelTest, AServerThatDoesNotKnowHelloServesAllTheSame) {
  WorkerPool pool(2, 10);
  const AccessPolicy policy = AccessPolicy::SameUser();
  RefusalLog refusals("plain");
  const CallGuard guard(policy, 100, refusals);
  const auto connection = std::make_shared<ServerConnection>(Caller{});
  GrpcService service(
      Serve(probe_),
      {.connection_of = [&](const std::string&) { return connection; },
       .guard = &guard,
       .pool = &pool});
  grpc::ServerBuilder builder;
  builder.AddListeningPort(dir_.Address("s"),
                           grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> plain = builder.BuildAndStart();
  EXPECT_THAT(Echo(), StatusIs(absl::StatusCode::kUnavailable,
                               HasSubstr("does not speak ttrpc")));
  channel_ = Connect({.wire = ClientWire::kGrpc});
  EXPECT_THAT(Echo(), IsOk());
  EXPECT_THAT(Echo(kWait), IsOk());
  EXPECT_THAT(channel_->WaitForConnected(absl::Seconds(30)), IsOk());
  const auto session = channel_->OpenSession(absl::Seconds(30));
  ASSERT_THAT(session, IsOk());
  EXPECT_THAT((*session)->hello(), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(ProbeClient(**session).Echo({}, {}), IsOk());
  plain->Shutdown(std::chrono::system_clock::now());
  pool.Stop();
}

TEST_F(ChannelTest, WaitForConnectedWaitsForTheServer) {
  EXPECT_THAT(channel_->WaitForConnected(absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("is the server running?")));
  std::thread starter([this] {
    absl::SleepFor(absl::Milliseconds(20));
    StartServer();
  });
  EXPECT_THAT(channel_->WaitForConnected(absl::Seconds(30)), IsOk());
  starter.join();
}

// Calls that wait for a server.

TEST_F(ChannelTest, ACallThatWaitsIsAnsweredOnceThereIsAServer) {
  Outcome outcome;
  ProbeClient(*channel_).Echo(
      {}, kWait, [&](const absl::StatusOr<Item>& reply) { outcome = reply; });
  StartServer();
  EXPECT_THAT(outcome.status(), IsOk());
}

TEST_F(ChannelTest, ManyCallsWaitTogether) {
  std::vector<Outcome> outcomes(50);
  for (Outcome& outcome : outcomes) {
    ProbeClient(*channel_).Echo(
        {}, kWait, [&](const absl::StatusOr<Item>& reply) { outcome = reply; });
  }
  StartServer();
  for (Outcome& outcome : outcomes) EXPECT_THAT(outcome.status(), IsOk());
}

TEST_F(ChannelTest, ACallWaitsAtMostForItsTimeoutAndSaysForWhat) {
  Outcome patient;
  ProbeClient(*channel_).Echo(
      {}, kWait, [&](const absl::StatusOr<Item>& reply) { patient = reply; });
  EXPECT_THAT(
      Echo({.timeout = absl::Milliseconds(20), .wait_for_ready = true}),
      StatusIs(absl::StatusCode::kDeadlineExceeded,
               AllOf(HasSubstr("20ms"), HasSubstr("is the server running?"))));
  StartServer();
  EXPECT_THAT(patient.status(), IsOk());
}

TEST_F(ChannelTest, ACallThatWaitsCanBeCancelled) {
  Cancellation cancellation;
  Outcome outcome;
  CallOptions options = kWait;
  options.cancellation = cancellation;
  ProbeClient(*channel_).Echo(
      {}, options, [&](const absl::StatusOr<Item>& reply) { outcome = reply; });
  cancellation.Cancel();
  EXPECT_THAT(outcome.status(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(Echo(options), StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(ChannelTest, ACallThatWaitedCanBeCancelledAfterwards) {
  Cancellation cancellation;
  Outcome outcome;
  CallOptions options = kWait;
  options.cancellation = cancellation;
  ProbeClient(*channel_).Hang(
      {}, options, [&](const absl::StatusOr<Item>& reply) { outcome = reply; });
  StartServer();
  ASSERT_TRUE(probe_.began.Wait());
  cancellation.Cancel();
  EXPECT_THAT(outcome.status(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_TRUE(probe_.cancelled.Wait());
}

TEST_F(ChannelTest, AStreamWaitsToo) {
  std::thread starter([this] {
    absl::SleepFor(absl::Milliseconds(20));
    StartServer();
  });
  Item three;
  three.set_number(3);
  auto stream = ProbeClient(*channel_).Count(three, kWait);
  Item item;
  int count = 0;
  while (stream.Read(&item)) ++count;
  EXPECT_EQ(count, 3);
  EXPECT_THAT(stream.status(), IsOk());
  starter.join();
}

TEST_F(ChannelTest, AStreamWithoutAServerEndsWithTheReason) {
  auto stream = ProbeClient(*channel_).Count({}, {});
  Item item;
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kUnavailable));
  auto waiting = ProbeClient(*channel_).Count(
      {}, {.timeout = absl::Milliseconds(20), .wait_for_ready = true});
  EXPECT_FALSE(waiting.Read(&item));
  EXPECT_THAT(waiting.status(),
              StatusIs(AnyOf(absl::StatusCode::kUnavailable,
                             absl::StatusCode::kDeadlineExceeded)));
}

// The channel goes first.

TEST_F(ChannelTest, DestroyingItEndsCallsInFlight) {
  StartServer();
  Outcome outcome;
  ProbeClient(*channel_).Hang(
      {}, {}, [&](const absl::StatusOr<Item>& reply) { outcome = reply; });
  ASSERT_TRUE(probe_.began.Wait());
  channel_.reset();
  EXPECT_THAT(outcome.status(), StatusIs(AnyOf(absl::StatusCode::kUnavailable,
                                               absl::StatusCode::kCancelled)));
  EXPECT_TRUE(probe_.cancelled.Wait());
}

TEST_F(ChannelTest, DestroyingItEndsCallsThatWait) {
  Outcome outcome;
  ProbeClient(*channel_).Echo(
      {}, kWait, [&](const absl::StatusOr<Item>& reply) { outcome = reply; });
  channel_.reset();
  EXPECT_THAT(outcome.status(), StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(ChannelTest, ItMayBeDestroyedWhereACallEnds) {
  Outcome outcome;
  ProbeClient(*channel_).Echo(
      {}, {.timeout = absl::Milliseconds(20), .wait_for_ready = true},
      [&](const absl::StatusOr<Item>& reply) {
        channel_.reset();
        outcome = reply;
      });
  EXPECT_THAT(outcome.status(), StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(ChannelTest, DescriptorsAreBackToBaseAfterIt) {
  StartServer();
  ASSERT_THAT(Echo(), IsOk());
  const std::size_t before = test::OpenDescriptors().size();
  for (int i = 0; i < 10; ++i) {
    const auto channel = Connect();
    ASSERT_THAT(ProbeClient(*channel).Echo({}, {}), IsOk());
    ASSERT_THAT(channel->OpenSession(absl::Seconds(30)), IsOk());
  }
  EXPECT_TRUE(
      Eventually([&] { return test::OpenDescriptors().size() <= before; }));
}

// Sessions.

TEST_F(ChannelTest, ASessionKnowsItsServerAndEndsWithIt) {
  StartServer({.name = "probe"});
  auto session = channel_->OpenSession(absl::Seconds(30));
  ASSERT_THAT(session, IsOk());
  ASSERT_THAT((*session)->hello(), IsOk());
  EXPECT_EQ((*session)->hello()->instance_id(), server_->instance_id());
  EXPECT_EQ((*session)->hello()->server(), "probe");
  EXPECT_THAT(ProbeClient(**session).Echo({}, {}), IsOk());
  EXPECT_FALSE((*session)->is_over());
  EXPECT_FALSE((*session)->WaitOver(absl::Milliseconds(1)));
  server_.reset();
  EXPECT_TRUE((*session)->WaitOver(absl::Seconds(30)));
  StartServer();
  EXPECT_THAT(ProbeClient(**session).Echo({}, {}),
              StatusIs(absl::StatusCode::kUnavailable))
      << "it does not connect again";
  EXPECT_THAT(Echo(), IsOk()) << "the channel does";
}

TEST_F(ChannelTest, ASessionHasAConnectionOfItsOwn) {
  StartServer();
  ASSERT_THAT(Echo(), IsOk());
  const auto session = channel_->OpenSession(absl::Seconds(30));
  ASSERT_THAT(session, IsOk());
  EXPECT_EQ((*session)->hello()->caller().connection_id(), 2u);
  (*session)->Close();
  EXPECT_TRUE((*session)->is_over());
  ASSERT_THAT(Echo(), IsOk());
  EXPECT_EQ(probe_.last_caller().connection_id, 1u);
}

TEST_F(ChannelTest, ASessionOutlivesItsChannel) {
  StartServer();
  const auto session = channel_->OpenSession(absl::Seconds(30));
  ASSERT_THAT(session, IsOk());
  channel_.reset();
  EXPECT_THAT(ProbeClient(**session).Echo({}, {}), IsOk());
}

TEST_F(ChannelTest, WithoutAServerThereIsNoSession) {
  EXPECT_THAT(
      channel_->OpenSession(absl::Hours(1)),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr(dir_.File("s"))));
}

// A server in a process of its own.
class ChannelToProcessTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(pair_.Start(), IsOk()); }

  absl::Status Echo(const CallOptions& options = {}) {
    return ProbeClient(pair_.channel()).Echo({}, options).status();
  }

  ProcessPair pair_{
      {.server = {TANDEM_BIN_DIR "/rpc-probe-server", "{socket}"}}};
};

TEST_F(ChannelToProcessTest, SurvivesKillsOfTheServer) {
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(Echo(), IsOk());
    pair_.Kill();
    EXPECT_THAT(Echo(), StatusIs(absl::StatusCode::kUnavailable,
                                 HasSubstr("server.sock")));
    ASSERT_THAT(pair_.Restart(), IsOk());
  }
  EXPECT_THAT(Echo(), IsOk());
}

TEST_F(ChannelToProcessTest, ACallThatTheServerDiedOnIsUnavailable) {
  Outcome outcome;
  ProbeClient(pair_.channel())
      .Hang({}, {},
            [&](const absl::StatusOr<Item>& reply) { outcome = reply; });
  ASSERT_THAT(Echo(), IsOk());
  pair_.Kill();
  EXPECT_THAT(outcome.status(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("whether the server acted on it is unknown")));
}

TEST_F(ChannelToProcessTest, WaitsOverARestart) {
  ASSERT_THAT(Echo(), IsOk());
  pair_.Kill();
  Outcome outcome;
  ProbeClient(pair_.channel())
      .Echo({}, {.timeout = absl::Seconds(30), .wait_for_ready = true},
            [&](const absl::StatusOr<Item>& reply) { outcome = reply; });
  ASSERT_THAT(pair_.Launch(), IsOk());
  EXPECT_THAT(outcome.status(), IsOk());
}

TEST_F(ChannelToProcessTest, AServerThatStandsStillCostsTheTimeoutAndNoMore) {
  ASSERT_THAT(Echo(), IsOk());
  ASSERT_THAT(pair_.Suspend(), IsOk());
  EXPECT_THAT(Echo({.timeout = absl::Milliseconds(50)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(pair_.channel().OpenSession(absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(pair_.channel().WaitForConnected(absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  auto fresh = *Channel::Connect(pair_.address());
  EXPECT_THAT(ProbeClient(*fresh).Echo({}, {.timeout = absl::Milliseconds(50),
                                            .wait_for_ready = true}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  ASSERT_THAT(pair_.Resume(), IsOk());
  EXPECT_THAT(Echo(), IsOk());
}

// Hello gives up after the default timeout; the connection is then as good as
// none, though nobody closed it.
TEST_F(ChannelToProcessTest, AServerThatStoodStillTooLongForHelloIsFoundAgain) {
  ASSERT_THAT(pair_.Suspend(), IsOk());
  auto fresh = *Channel::Connect(pair_.address());
  EXPECT_THAT(ProbeClient(*fresh).Echo(
                  {}, {.timeout = kDefaultCallTimeout + absl::Seconds(1)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  ASSERT_THAT(pair_.Resume(), IsOk());
  EXPECT_THAT(ProbeClient(*fresh).Echo(
                  {}, {.timeout = absl::Seconds(5), .wait_for_ready = true}),
              IsOk());
}

TEST_F(ChannelToProcessTest,
       ATerminatedServerRemovesItsSocketAndExitsWithZero) {
  ASSERT_THAT(Echo(), IsOk());
  EXPECT_THAT(pair_.Terminate(), IsOkAndHolds(0));
  EXPECT_THAT(Echo(), StatusIs(absl::StatusCode::kUnavailable,
                               HasSubstr("there is no socket")));
}

}  // namespace
}  // namespace tandem::rpc

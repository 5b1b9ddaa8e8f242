#include "rpc/server/server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/version.h"
#include "rpc/client/channel.h"
#include "rpc/socket/dial.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "spdlog/sinks/ringbuffer_sink.h"
#include "spdlog/spdlog.h"
#include "tandem/rpc/v1/session.tandem.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/support/child.h"
#include "tests/support/descriptors.h"
#include "tests/support/eventually.h"

namespace tandem::rpc {
namespace {

using test::Eventually;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::Not;
using testing::StatusIs;
using tests::wire::Event;
using tests::wire::Item;
using tests::wire::ProbeClient;
using tests::wire::ProbeHandler;
using tests::wire::ProbeService;

// Blocks in Hang for as long as the test wants, cancelled or not.
class StubbornService final : public ProbeHandler {
 public:
  absl::StatusOr<Item> Hang(Call& call, const Item& request) override {
    began.Set();
    release.Wait();
    ended.Set();
    return request;
  }

  Event began;
  Event release;
  Event ended;
};

// Keeps the reply for as long as the test wants, cancelled or not.
class KeepingService final : public ProbeHandler {
 public:
  void HangLater(Call&, const Item&, Reply<Item> reply) override {
    kept.emplace(std::move(reply));
    began.Set();
  }

  Event began;
  std::optional<Reply<Item>> kept;
};

class ServerTest : public ::testing::Test {
 protected:
  absl::Status Start(ServerOptions options = {}) {
    options.address = dir_.Address("s");
    if (options.services.empty()) options.services = {Serve(probe_)};
    absl::StatusOr<std::unique_ptr<Server>> server =
        Server::Start(std::move(options));
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    channel_ = *Channel::Connect(dir_.Address("s"));
    return absl::OkStatus();
  }

  absl::Status Echo() { return ProbeClient(*channel_).Echo({}, {}).status(); }
  absl::StatusOr<v1::HelloReply> Hello() {
    return v1::SessionClient(*channel_).Hello({}, {});
  }

  // In a child, once `go` is closed: the code of an Echo as another user.
  int EchoAsAnother(test::Pipe& go) const {
    go.WaitClosed();
    if (::chmod(dir_.path().c_str(), 0711) != 0) return 99;
    if (!test::Become(test::kForeignUid)) return 99;
    const auto channel = Channel::Connect(dir_.Address("s"), {.server_uid = 0});
    return static_cast<int>(
        ProbeClient(**channel).Echo({}, {}).status().code());
  }

  testing::TempDir dir_;
  ProbeService probe_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(ServerTest, AnswersOnceStartReturns) {
  ASSERT_THAT(Start(), IsOk());
  EXPECT_THAT(Echo(), IsOk());
  EXPECT_EQ(server_->address(), dir_.Address("s"));
}

TEST_F(ServerTest, HandlersSeeWhoCalls) {
  ASSERT_THAT(Start(), IsOk());
  ASSERT_THAT(Echo(), IsOk());
  EXPECT_EQ(probe_.last_caller().uid, ::geteuid());
  EXPECT_EQ(probe_.last_caller().gid, ::getegid());
  EXPECT_EQ(probe_.last_caller().pid, ::getpid());
  EXPECT_EQ(probe_.last_caller().connection_id, 1u);
  EXPECT_EQ(probe_.last_caller().wire, "ttrpc");
}

TEST_F(ServerTest, HelloTellsAllThatItPromises) {
  ASSERT_THAT(Start({.name = "probe 1.2",
                     .max_message_bytes = 12345,
                     .max_reply_bytes = 23456,
                     .max_calls_per_connection = 67}),
              IsOk());
  const auto hello = Hello();
  ASSERT_THAT(hello, IsOk());
  EXPECT_EQ(hello->framework_version(), FrameworkVersion());
  EXPECT_EQ(hello->instance_id(), server_->instance_id());
  EXPECT_EQ(hello->instance_id().size(), 32u);
  EXPECT_EQ(hello->server(), "probe 1.2");
  EXPECT_GT(hello->started_unix_nanos(), 0);
  EXPECT_LE(hello->started_unix_nanos(), absl::ToUnixNanos(absl::Now()));
  EXPECT_EQ(hello->limits().max_request_bytes(), 12345u);
  EXPECT_EQ(hello->limits().max_reply_bytes(), 23456u);
  EXPECT_EQ(hello->limits().max_calls_per_connection(), 67u);
  ASSERT_EQ(hello->services_size(), 1);
  EXPECT_EQ(hello->services(0).name(), "tests.wire.Probe");
  EXPECT_EQ(hello->services(0).fingerprint(),
            ProbeHandler::Table().fingerprint);
  EXPECT_EQ(hello->caller().uid(), ::geteuid());
  EXPECT_EQ(hello->caller().gid(), ::getegid());
  EXPECT_EQ(hello->caller().pid(), ::getpid());
  EXPECT_EQ(hello->caller().connection_id(), 1u);
  EXPECT_EQ(hello->caller().wire(), "ttrpc");
}

TEST_F(ServerTest, EachStartIsAnInstanceOfItsOwn) {
  ASSERT_THAT(Start(), IsOk());
  const std::string first = server_->instance_id();
  server_.reset();
  ASSERT_THAT(Start(), IsOk());
  EXPECT_NE(server_->instance_id(), first);
}

TEST_F(ServerTest, TheSocketHasTheModeAskedFor) {
  ASSERT_THAT(Start({.permissions = {.mode = 0640}}), IsOk());
  struct stat info;
  ASSERT_EQ(::stat(dir_.File("s").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0640u);
}

TEST_F(ServerTest, ASecondServerOnALivePathIsRefused) {
  ASSERT_THAT(Start(), IsOk());
  EXPECT_THAT(
      Server::Start({.address = dir_.Address("s")}),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(dir_.File("s"))));
  EXPECT_THAT(Echo(), IsOk());
}

TEST_F(ServerTest, BadOptionsAreRefused) {
  const auto code = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(Server::Start({.address = "tcp://localhost:1"}), StatusIs(code));
  EXPECT_THAT(Start({.workers = 0}), StatusIs(code));
  EXPECT_THAT(Start({.max_message_bytes = 0}), StatusIs(code));
  EXPECT_THAT(Start({.max_calls_per_connection = 0}), StatusIs(code));
  EXPECT_THAT(Start({.max_connections = 0}), StatusIs(code));
  EXPECT_THAT(Start({.preface_timeout = absl::ZeroDuration()}), StatusIs(code));
}

TEST_F(ServerTest, AServiceTwiceIsRefused) {
  EXPECT_THAT(Start({.services = {Serve(probe_), Serve(probe_)}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tests.wire.Probe is served twice")));
  v1::SessionHandler session;
  EXPECT_THAT(Start({.services = {Serve(session)}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ServerTest, AForeignUidIsRefusedAndOthersDoNotNotice) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  test::Pipe go;
  test::Child stranger([&] { return EchoAsAnother(go); });
  ASSERT_THAT(Start({.permissions = {.mode = 0666}}), IsOk());
  go.Close();
  EXPECT_EQ(stranger.Wait(), static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_EQ(probe_.calls, 0);
  EXPECT_THAT(Echo(), IsOk());
}

TEST_F(ServerTest, AnAllowedUidIsServedUnderItsOwnName) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  test::Pipe go;
  test::Child guest([&] { return EchoAsAnother(go); });
  ASSERT_THAT(
      Start({.permissions = {.mode = 0666},
             .access = AccessPolicy::SameUser().AllowUid(test::kForeignUid)}),
      IsOk());
  go.Close();
  EXPECT_EQ(guest.Wait(), 0);
  EXPECT_EQ(probe_.last_caller().uid, test::kForeignUid);
}

TEST_F(ServerTest, AClientThatDiesLeavesNothingBehind) {
  ASSERT_THAT(Start(), IsOk());
  ASSERT_THAT(Echo(), IsOk());
  const std::size_t before = test::OpenDescriptors().size();
  for (int i = 0; i < 20; ++i) {
    const auto channel = Channel::Connect(dir_.Address("s"));
    ASSERT_THAT(ProbeClient(**channel).Echo({}, {}), IsOk());
  }
  EXPECT_TRUE(
      Eventually([&] { return test::OpenDescriptors().size() <= before; }));
}

TEST_F(ServerTest, NothingLeaksIntoAProgramThatWeStart) {
  const auto before = test::OpenDescriptors();
  ASSERT_THAT(Start(), IsOk());
  ASSERT_THAT(Echo(), IsOk());
  FILE* listing = ::popen("ls -l /proc/self/fd", "re");
  ASSERT_NE(listing, nullptr);
  std::string text(1 << 16, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), listing));
  ::pclose(listing);
  for (const auto& [fd, what] : test::OpenDescriptors()) {
    if (before.contains(fd)) continue;
    EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC) << what;
    if (what.starts_with("socket:")) {
      EXPECT_THAT(text, Not(HasSubstr(what)));
    }
  }
}

// Stop.

TEST_F(ServerTest, StopRemovesTheSocketAndIsIdempotent) {
  ASSERT_THAT(Start(), IsOk());
  ASSERT_THAT(Echo(), IsOk());
  server_->Stop(absl::Seconds(5));
  EXPECT_FALSE(std::filesystem::exists(dir_.File("s")));
  EXPECT_THAT(Echo(), StatusIs(absl::StatusCode::kUnavailable));
  server_->Stop(absl::Seconds(5));
}

TEST_F(ServerTest, StopLetsCallsInFlightFinish) {
  StubbornService stubborn;
  ASSERT_THAT(Start({.services = {Serve(stubborn)}}), IsOk());
  std::optional<absl::Status> answer;
  std::thread caller(
      [&] { answer = ProbeClient(*channel_).Hang({}, {}).status(); });
  ASSERT_TRUE(stubborn.began.Wait());
  std::thread stopper([&] { server_->Stop(absl::Seconds(30)); });
  ASSERT_TRUE(
      Eventually([&] { return !std::filesystem::exists(dir_.File("s")); }));
  stubborn.release.Set();
  stopper.join();
  caller.join();
  EXPECT_THAT(*answer, IsOk());
}

TEST_F(ServerTest, StopCancelsWhatDoesNotFinish) {
  ASSERT_THAT(Start(), IsOk());
  std::optional<absl::Status> answer;
  std::thread caller(
      [&] { answer = ProbeClient(*channel_).Hang({}, {}).status(); });
  ASSERT_TRUE(probe_.began.Wait());
  server_->Stop(absl::Milliseconds(20));
  EXPECT_TRUE(probe_.cancelled.Wait());
  caller.join();
  EXPECT_THAT(*answer, StatusIs(AnyOf(absl::StatusCode::kUnavailable,
                                      absl::StatusCode::kCancelled)));
}

TEST_F(ServerTest, StopDoesNotWaitForAHandlerThatHangs) {
  StubbornService stubborn;
  ASSERT_THAT(Start({.services = {Serve(stubborn)}}), IsOk());
  ProbeClient(*channel_).Hang({}, {}, [](const absl::StatusOr<Item>&) {});
  ASSERT_TRUE(stubborn.began.Wait());
  const auto lines = std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(100);
  spdlog::default_logger()->sinks().push_back(lines);
  EXPECT_FALSE(server_->Stop(absl::Milliseconds(20)));
  spdlog::default_logger()->sinks().pop_back();
  EXPECT_THAT(lines->last_formatted(),
              Contains(HasSubstr("handlers of 1 connections do not end")));
  server_.reset();
  stubborn.release.Set();
  EXPECT_TRUE(stubborn.ended.Wait());
}

// While it has it, it may still use what belongs to the server.
TEST_F(ServerTest, AStopTellsOfACallThatItsHandlerKeeps) {
  for (const auto wire : {ClientWire::kGrpc, ClientWire::kTtrpc}) {
    for (const bool client_stays : {true, false}) {
      SCOPED_TRACE(std::string(wire == ClientWire::kGrpc ? "grpc" : "ttrpc") +
                   (client_stays ? " stays" : " leaves"));
      KeepingService keeping;
      ASSERT_THAT(Start({.services = {Serve(keeping)}}), IsOk());
      channel_ = *Channel::Connect(dir_.Address("s"), {.wire = wire});
      ProbeClient(*channel_).HangLater({}, {},
                                       [](const absl::StatusOr<Item>&) {});
      ASSERT_TRUE(keeping.began.Wait());
      if (!client_stays) channel_ = nullptr;
      const auto lines =
          std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(100);
      spdlog::default_logger()->sinks().push_back(lines);
      EXPECT_FALSE(server_->Stop(absl::Milliseconds(20)));
      spdlog::default_logger()->sinks().pop_back();
      EXPECT_THAT(lines->last_formatted(),
                  Contains(HasSubstr("a handler keeps it")));
      keeping.kept->Send(Item());
      EXPECT_TRUE(server_->Stop(absl::Seconds(30)));
      server_ = nullptr;
    }
  }
}

TEST_F(ServerTest, StopDoesNotWaitForASilentClient) {
  ASSERT_THAT(Start(), IsOk());
  const auto silent =
      Dial(*UnixAddress::Parse(dir_.Address("s")), ::geteuid(), absl::Now());
  ASSERT_THAT(silent, IsOk());
  constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  ASSERT_EQ(::send(silent->get(), kPreface, 24, MSG_NOSIGNAL), 24);
  ASSERT_THAT(Echo(), IsOk());
  EXPECT_TRUE(server_->Stop(absl::Milliseconds(20)));
  EXPECT_FALSE(std::filesystem::exists(dir_.File("s")));
}

TEST_F(ServerTest, AStoppedServerMakesWayForAnother) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_THAT(Start(), IsOk());
    EXPECT_THAT(Echo(), IsOk());
    server_.reset();
  }
}

TEST_F(ServerTest, DescriptorsAreBackToBaseAfterStop) {
  ASSERT_THAT(Start(), IsOk());  // gRPC keeps some from its first use on.
  ASSERT_THAT(Echo(), IsOk());
  channel_.reset();
  server_.reset();
  const std::size_t before = test::OpenDescriptors().size();
  ASSERT_THAT(Start(), IsOk());
  ASSERT_THAT(Echo(), IsOk());
  channel_.reset();
  server_.reset();
  EXPECT_TRUE(
      Eventually([&] { return test::OpenDescriptors().size() <= before; }));
}

}  // namespace
}  // namespace tandem::rpc

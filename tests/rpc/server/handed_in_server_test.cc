// Servers on sockets that somebody else made.

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/client/channel.h"
#include "rpc/server/server.h"
#include "rpc/socket/unix_listener.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "rpc/wire/grpc/grpc_transport.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/support/child.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_socket.h"

namespace tandem::rpc {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using tests::wire::ProbeClient;
using tests::wire::ProbeService;

class HandedInServerTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options) {
    options.services = {Serve(probe_)};
    return Server::Start(std::move(options));
  }

  // "fd:N", which listens at the path "s".
  std::string Listening() const {
    const int fd = test::BindTo(dir_.File("s"), SOCK_STREAM).Release();
    EXPECT_EQ(::listen(fd, 1), 0);
    return absl::StrCat("fd:", fd);
  }

  testing::TempDir dir_;
  ProbeService probe_;
};

TEST_F(HandedInServerTest, AListeningSocketIsServedAndItsPathTold) {
  const auto server = Start({.address = Listening()});
  ASSERT_THAT(server, IsOk());
  EXPECT_EQ((*server)->address(), dir_.Address("s"));
  const auto channel = Channel::Connect((*server)->address());
  ASSERT_THAT(channel, IsOk());
  EXPECT_THAT(ProbeClient(**channel).Echo({}), IsOk());
  EXPECT_EQ(probe_.last_caller().pid, ::getpid());
}

TEST_F(HandedInServerTest, ThePathIsLeftToTheGiver) {
  const std::string address = Listening();
  auto server = Start({.address = address});
  ASSERT_THAT(server, IsOk());
  EXPECT_FALSE(std::filesystem::exists(dir_.File(".s.lock")));
  EXPECT_TRUE((*server)->Stop(absl::Seconds(10)));
  EXPECT_TRUE(std::filesystem::exists(dir_.File("s")));
  server->reset();
  EXPECT_TRUE(std::filesystem::exists(dir_.File("s")));
  // It is closed, and by now the number may be that of something else.
  EXPECT_FALSE(Start({.address = address}).ok());
}

TEST_F(HandedInServerTest, ModeAndOwnerAreTheGivers) {
  const std::string address = Listening();
  EXPECT_THAT(
      Start({.address = address, .permissions = {.mode = 0660}}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("SocketMode=")));
  EXPECT_THAT(Start({.address = address}), IsOk()) << "it is still there";
}

TEST_F(HandedInServerTest, AConnectionIsServedAloneAndUntilItEnds) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd ours(pair[0]);
  auto server = Start({.address = absl::StrCat("fd:", pair[1])});
  ASSERT_THAT(server, IsOk());
  EXPECT_EQ((*server)->address(), absl::StrCat("fd:", pair[1]));
  auto transport = GrpcTransport::Create(std::move(ours), {.peer = "the pair"});
  ASSERT_THAT(transport, IsOk());
  ProbeClient probe(**transport);
  EXPECT_THAT(probe.Echo({}), IsOk());
  EXPECT_EQ(probe_.last_caller().uid, ::geteuid());
  EXPECT_EQ(probe_.last_caller().pid, ::getpid());
  EXPECT_TRUE((*server)->Stop(absl::Seconds(10)));
  EXPECT_TRUE(test::Eventually([&] { return (*transport)->is_over(); }));
}

TEST_F(HandedInServerTest, OnceItsConnectionHasEndedTheProgramIsToEnd) {
  for (const bool speaks : {true, false}) {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    UniqueFd ours(pair[0]);
    auto server = Start({.address = absl::StrCat("fd:", pair[1])});
    ASSERT_THAT(server, IsOk());
    if (speaks) {
      auto transport =
          GrpcTransport::Create(std::move(ours), {.peer = "the pair"});
      ASSERT_THAT(transport, IsOk());
      EXPECT_THAT(ProbeClient(**transport).Echo({}), IsOk());
    }
    ours.Reset();
    EXPECT_THAT((*server)->RunUntilSignal(absl::Seconds(10)), IsOk());
  }
}

TEST_F(HandedInServerTest, TheCallerIsWhoMadeTheConnection) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
  const auto listener = UnixListener::Listen(
      *UnixAddress::Parse(dir_.Address("s")), {.mode = 0666});
  ASSERT_THAT(listener, IsOk());
  test::Child client([&] {
    if (!test::Become(test::kForeignUid)) return 99;
    const auto channel = Channel::Connect(dir_.Address("s"), {.server_uid = 0});
    return static_cast<int>(ProbeClient(**channel).Echo({}).status().code());
  });
  pollfd waiting = {(*listener)->fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&waiting, 1, 20000), 1);
  const int fd = ::accept4((*listener)->fd(), nullptr, nullptr, SOCK_CLOEXEC);
  const auto server =
      Start({.address = absl::StrCat("fd:", fd),
             .access = AccessPolicy().AllowUid(test::kForeignUid)});
  ASSERT_THAT(server, IsOk());
  EXPECT_EQ(client.Wait(), 0);
  EXPECT_EQ(probe_.last_caller().uid, test::kForeignUid);
}

TEST_F(HandedInServerTest, TheOtherEndOfAConnectionIsLookedAtToo) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const UniqueFd ours(pair[0]);
  AccessPolicy others;
  others.AllowUid(::geteuid() + 1);
  EXPECT_THAT(Start({.address = absl::StrCat("fd:", pair[1]),
                     .access = std::move(others)}),
              StatusIs(absl::StatusCode::kPermissionDenied));
  char byte;
  EXPECT_EQ(::recv(ours.get(), &byte, 1, 0), 0) << "closed, nothing sent";
}

TEST_F(HandedInServerTest, WhatIsNoSocketOfOursIsRefused) {
  EXPECT_THAT(Start({.address = "fd:987654"}),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Start({.address = "fd:x"}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Start({.address = "systemd:"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("LISTEN_FDS")));
}

}  // namespace
}  // namespace tandem::rpc

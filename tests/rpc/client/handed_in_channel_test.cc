// Channels over a connection that somebody else made.

#include "rpc/client/handed_in_channel.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/client/channel.h"
#include "rpc/client/session.h"
#include "rpc/server/server.h"
#include "rpc/socket/dial.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/support/descriptors.h"
#include "tests/support/eventually.h"

namespace tandem::rpc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using tests::wire::Item;
using tests::wire::ProbeClient;
using tests::wire::ProbeService;

std::string AddressOf(int fd) { return absl::StrCat("fd:", fd); }

class HandedInChannelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ours_ = pair[0];
    theirs_ = UniqueFd(pair[1]);
  }

  void StartServer() {
    auto server = Server::Start(
        {.address = AddressOf(theirs_.Release()), .services = {Serve(probe_)}});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  testing::TempDir dir_;
  ProbeService probe_;
  // What is handed in.
  int ours_ = -1;
  UniqueFd theirs_;
  std::unique_ptr<Server> server_;
};

TEST_F(HandedInChannelTest, CallsAndSessionsGoOverTheOneConnection) {
  const auto channel = Channel::Connect(AddressOf(ours_));
  ASSERT_THAT(channel, IsOk());
  EXPECT_TRUE(::fcntl(ours_, F_GETFD) & FD_CLOEXEC);
  // The server may come later.
  StartServer();
  EXPECT_THAT((*channel)->WaitForConnected(absl::Seconds(20)), IsOk());
  ProbeClient probe(**channel);
  EXPECT_THAT(probe.Echo({}), IsOk());
  EXPECT_EQ(probe_.last_caller().uid, ::geteuid());
  Item item;
  Item three;
  three.set_number(3);
  auto counting = probe.Count(three);
  EXPECT_TRUE(counting.Read(&item));
  {
    const auto session = (*channel)->OpenSession(absl::Seconds(20));
    ASSERT_THAT(session, IsOk());
    EXPECT_THAT((*session)->hello(), IsOk());
    EXPECT_EQ((*session)->hello()->caller().connection_id(),
              probe_.last_caller().connection_id);
    EXPECT_THAT(ProbeClient(**session).Echo({}), IsOk());
  }
  EXPECT_THAT(probe.Echo({}), IsOk()) << "the session's end is not its end";
}

TEST_F(HandedInChannelTest, OnceItHasEndedThereIsNoOther) {
  const auto channel = Channel::Connect(AddressOf(ours_));
  ASSERT_THAT(channel, IsOk());
  StartServer();
  ProbeClient probe(**channel);
  EXPECT_THAT(probe.Echo({}), IsOk());
  EXPECT_TRUE(server_->Stop(absl::Seconds(10)));
  const auto ended =
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr(AddressOf(ours_)),
                     HasSubstr("it was handed in, so there is no way")));
  EXPECT_TRUE(test::Eventually(
      [&] { return ::testing::Matches(ended)(probe.Echo({}).status()); }));
  EXPECT_THAT(probe.Echo({}, {.timeout = absl::InfiniteDuration(),
                              .wait_for_ready = true}),
              ended);
  EXPECT_THAT(probe.Echo({}), StatusIs(absl::StatusCode::kUnavailable,
                                       HasSubstr("Probe/Echo")));
  Item item;
  auto counting = probe.Count({});
  EXPECT_FALSE(counting.Read(&item));
  EXPECT_THAT(counting.status(), ended);
  EXPECT_THAT((*channel)->OpenSession(absl::Seconds(1)), ended);
}

TEST_F(HandedInChannelTest, ItsEndIsTheEndOfItsSessions) {
  auto channel = Channel::Connect(AddressOf(ours_));
  ASSERT_THAT(channel, IsOk());
  StartServer();
  const auto session = (*channel)->OpenSession(absl::Seconds(20));
  ASSERT_THAT(session, IsOk());
  channel->reset();
  EXPECT_TRUE((*session)->WaitOver(absl::Seconds(20)));
}

TEST_F(HandedInChannelTest, AnotherUidAtTheOtherEndGetsNoByte) {
  EXPECT_THAT(
      Channel::Connect(AddressOf(ours_), {.server_uid = ::geteuid() + 1}),
      StatusIs(absl::StatusCode::kPermissionDenied,
               HasSubstr(absl::StrCat("the server at ", AddressOf(ours_),
                                      " runs as uid ", ::geteuid()))));
  char byte;
  EXPECT_EQ(::recv(theirs_.get(), &byte, 1, 0), 0) << "closed, nothing sent";
}

TEST_F(HandedInChannelTest, NothingIsSentBeforeTheFirstCall) {
  const auto before = test::OpenDescriptors();
  {
    const auto channel = Channel::Connect(AddressOf(ours_));
    ASSERT_THAT(channel, IsOk());
    char byte;
    EXPECT_EQ(::recv(theirs_.get(), &byte, 1, MSG_DONTWAIT), -1);
  }
  EXPECT_EQ(test::OpenDescriptors().size() + 1, before.size());
}

TEST_F(HandedInChannelTest, MayBeConnectedToAListener) {
  ::close(ours_);
  const auto server = Server::Start(
      {.address = dir_.Address("s"), .services = {Serve(probe_)}});
  ASSERT_THAT(server, IsOk());
  auto fd =
      Dial(*UnixAddress::Parse(dir_.Address("s")), ::geteuid(), absl::Now());
  ASSERT_THAT(fd, IsOk());
  const auto channel = Channel::Connect(AddressOf(fd->Release()));
  ASSERT_THAT(channel, IsOk());
  EXPECT_THAT(ProbeClient(**channel).Echo({}), IsOk());
}

TEST_F(HandedInChannelTest, WhatIsNoConnectionIsRefusedAndLeftOpen) {
  ::close(ours_);
  const auto listener =
      UnixListener::Listen(*UnixAddress::Parse(dir_.Address("s")));
  ASSERT_THAT(listener, IsOk());
  const int fd = (*listener)->fd();
  EXPECT_THAT(Channel::Connect(AddressOf(fd)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("that is for a server")));
  EXPECT_GE(::fcntl(fd, F_GETFD), 0);
  EXPECT_THAT(Channel::Connect("fd:987654"),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Channel::Connect("fd:x"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Channel::Connect("systemd:"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace tandem::rpc

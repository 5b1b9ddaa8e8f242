#include "rpc/socket/peer_credentials.h"

#include <sys/socket.h>
#include <unistd.h>

#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/unique_fd.h"
#include "rpc/socket/dial.h"
#include "rpc/socket/unix_listener.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/child.h"

namespace tandem::rpc {
namespace {

using ::testing::ElementsAre;
using testing::IsOk;
using ::testing::IsSupersetOf;
using ::testing::Not;

TEST(PeerCredentialsTest, APairOfOursIsUs) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const UniqueFd one(pair[0]);
  const UniqueFd two(pair[1]);
  const auto peer = PeerCredentialsOf(one.get());
  ASSERT_THAT(peer, IsOk());
  EXPECT_EQ(peer->uid, ::geteuid());
  EXPECT_EQ(peer->gid, ::getegid());
  EXPECT_EQ(peer->pid, ::getpid());
  std::vector<gid_t> groups(::getgroups(0, nullptr));
  ::getgroups(groups.size(), groups.data());
  groups.push_back(::getegid());
  EXPECT_THAT(peer->groups, IsSupersetOf(groups));
}

TEST(PeerCredentialsTest, WhatIsNoSocketHasNone) {
  EXPECT_THAT(PeerCredentialsOf(-1), Not(IsOk()));
  EXPECT_THAT(PeerCredentialsOf(STDERR_FILENO), Not(IsOk()));
}

class ForeignPeerTest : public ::testing::Test {
 protected:
  // What we see of a client of that uid and those groups.
  absl::StatusOr<PeerCredentials> Peer(const std::vector<gid_t>& groups) {
    const auto address = UnixAddress::Parse(dir_.Address("s"));
    ::chmod(dir_.path().c_str(), 0711);
    const auto listener = UnixListener::Listen(*address, {.mode = 0666});
    if (!listener.ok()) return listener.status();
    test::Child client([&] {
      if (::setgroups(groups.size(), groups.data()) != 0 ||
          ::setresgid(7, 7, 7) != 0 ||
          ::setresuid(test::kForeignUid, test::kForeignUid,
                      test::kForeignUid) != 0) {
        return 1;
      }
      return Dial(*address, 0, absl::Now()).ok() ? 0 : 2;
    });
    pid_ = client.pid();
    EXPECT_EQ(client.Wait(), 0);
    const UniqueFd fd(
        ::accept4((*listener)->fd(), nullptr, nullptr, SOCK_CLOEXEC));
    return PeerCredentialsOf(fd.get());
  }

  testing::TempDir dir_;
  pid_t pid_ = 0;
};

TEST_F(ForeignPeerTest, IsNamedWithItsGroups) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  const auto peer = Peer({100, 200});
  ASSERT_THAT(peer, IsOk());
  EXPECT_EQ(peer->uid, test::kForeignUid);
  EXPECT_EQ(peer->gid, 7u);
  EXPECT_EQ(peer->pid, pid_);
  EXPECT_THAT(peer->groups, ElementsAre(7, 100, 200));
}

TEST_F(ForeignPeerTest, MayBeInManyGroups) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  std::vector<gid_t> many(1000);
  std::iota(many.begin(), many.end(), 1000);
  const auto peer = Peer(many);
  ASSERT_THAT(peer, IsOk());
  EXPECT_EQ(peer->groups.size(), 1001u);
  EXPECT_EQ(peer->groups.back(), 1999u);
}

}  // namespace
}  // namespace tandem::rpc

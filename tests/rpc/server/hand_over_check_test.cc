#include "rpc/server/hand_over_check.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/unique_fd.h"
#include "rpc/server/server.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/descriptors.h"
#include "tests/support/eventually.h"

namespace {

// Of the thread that checks, while it is to meet a gRPC that closes too early.
thread_local bool closes_early = false;
thread_local int served = -1;
thread_local bool has_left = false;

}  // namespace

// The linker takes these for libc's. The first shows which descriptor gRPC is
// given, the second that its client leaves. The check calls the third once the
// handler knows that; it has something else behind the descriptor by then. A
// lock that is contended may have slept before.
extern "C" int socketpair(int domain, int type, int protocol,
                          int fds[2]) noexcept {
  const auto result =
      static_cast<int>(::syscall(SYS_socketpair, domain, type, protocol, fds));
  if (closes_early && result == 0) {
    served = fds[1];
    has_left = false;
  }
  return result;
}

extern "C" int shutdown(int fd, int how) noexcept {
  has_left = true;
  return static_cast<int>(::syscall(SYS_shutdown, fd, how));
}

extern "C" int nanosleep(const timespec* wanted, timespec* left) {
  if (served >= 0 && has_left) {
    const int fd = std::exchange(served, -1);
    const tandem::rpc::UniqueFd other(::open("/dev/null", O_RDWR | O_CLOEXEC));
    EXPECT_EQ(::dup3(other.get(), fd, O_CLOEXEC), fd);
  }
  return static_cast<int>(::syscall(SYS_nanosleep, wanted, left));
}

namespace tandem::rpc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::StatusIs;

TEST(HandOverCheckTest, TheGrpcThatWeBuildWithPasses) {
  EXPECT_THAT(CheckHandOver(), testing::IsOk());
}

TEST(HandOverCheckTest, NoServerStartsWithAGrpcThatClosesTooEarly) {
  const auto refused = StatusIs(absl::StatusCode::kInternal,
                                AllOf(HasSubstr("callers cannot be told apart"),
                                      HasSubstr("handler is still running")));
  const testing::TempDir dir;
  closes_early = true;
  EXPECT_THAT(CheckHandOver(), refused);
  EXPECT_THAT(Server::Start({.address = dir.Address("s")}), refused);
  closes_early = false;
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(HandOverCheckTest, LeavesNoDescriptorBehind) {
  // The first opens what gRPC keeps for the life of the process.
  ASSERT_THAT(CheckHandOver(), testing::IsOk());
  const auto before = test::OpenDescriptors();
  ASSERT_THAT(CheckHandOver(), testing::IsOk());
  EXPECT_TRUE(test::Eventually(
      [&] { return test::OpenDescriptors().size() <= before.size(); }));
}

}  // namespace
}  // namespace tandem::rpc

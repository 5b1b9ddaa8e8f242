// What others do between two steps of Listen(), at exactly that moment: the
// linker takes the functions below for libc's. They do what those do, and let
// somebody else act before or after.

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/socket/dial.h"
#include "rpc/socket/unix_listener.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/raw_socket.h"

namespace {

using Act = std::function<void()>;

// Once, unless the act sets it again.
Act* before_flock = nullptr;
Act* after_connect = nullptr;
Act* before_taking_over = nullptr;
Act* after_rename = nullptr;

void Run(Act*& act) {
  if (Act* const now = std::exchange(act, nullptr)) (*now)();
}

}  // namespace

extern "C" int flock(int fd, int operation) noexcept {
  Run(before_flock);
  return static_cast<int>(::syscall(SYS_flock, fd, operation));
}

extern "C" int connect(int fd, const sockaddr* address, socklen_t size) {
  const auto result =
      static_cast<int>(::syscall(SYS_connect, fd, address, size));
  const int error = errno;
  Run(after_connect);
  errno = error;
  return result;
}

extern "C" int unlinkat(int directory, const char* name, int flags) noexcept {
  Run(before_taking_over);
  return static_cast<int>(::syscall(SYS_unlinkat, directory, name, flags));
}

extern "C" int renameat2(int from, const char* old_name, int to,
                         const char* new_name, unsigned flags) noexcept {
  Run(before_taking_over);
  const auto result = static_cast<int>(
      ::syscall(SYS_renameat2, from, old_name, to, new_name, flags));
  const int error = errno;
  Run(after_rename);
  errno = error;
  return result;
}

namespace tandem::rpc {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

class UnixListenerRaceTest : public ::testing::Test {
 protected:
  UnixAddress Address() const { return *UnixAddress::Parse(dir_.Address("s")); }
  absl::StatusOr<std::unique_ptr<UnixListener>> Listen() const {
    return UnixListener::Listen(Address(), {});
  }
  std::string Path() const { return dir_.File("s"); }
  std::string LockPath() const { return dir_.File(".s.lock"); }

  testing::TempDir dir_;
};

TEST_F(UnixListenerRaceTest, ALockFileThatIsRemovedBeforeItIsLockedIsNoLock) {
  Act remove = [&] { fs::remove(LockPath()); };
  before_flock = &remove;
  const auto listener = Listen();
  ASSERT_THAT(listener, IsOk());
  // Its handlers may still run, so it holds what others look at.
  (*listener)->Close();
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kAlreadyExists,
                                 HasSubstr("it holds the lock file")));
}

TEST_F(UnixListenerRaceTest, OfTwoThatLockDifferentFilesOneWins) {
  std::unique_ptr<UnixListener> other;
  Act replace = [&] {
    fs::remove(LockPath());
    auto listener = Listen();
    ASSERT_THAT(listener, IsOk());
    other = *std::move(listener);
    other->Close();
  };
  before_flock = &replace;
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kAlreadyExists,
                                 HasSubstr("it holds the lock file")));
}

TEST_F(UnixListenerRaceTest, WhoKeepsReplacingTheLockFileIsToldOf) {
  Act remove = [&] {
    fs::remove(LockPath());
    before_flock = &remove;
  };
  before_flock = &remove;
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kAborted,
                                 HasSubstr("keeps replacing the lock file")));
  before_flock = nullptr;
  EXPECT_FALSE(fs::exists(Path()));
}

// By a server that does not know the lock.
TEST_F(UnixListenerRaceTest, ASocketThatIsReplacedWhileItIsProbedIsLeftAlone) {
  test::ListenAt(Path());
  // With a lock file there is one probe, under the lock.
  std::ofstream(LockPath()) << "";
  UniqueFd live;
  Act replace = [&] {
    fs::remove(Path());
    live = test::ListenAt(Path());
  };
  after_connect = &replace;
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kAlreadyExists,
                                 HasSubstr("the path changed")));
  EXPECT_THAT(Dial(Address(), ::geteuid(), absl::Now()), IsOk());
}

// Nor one that takes the path when all has been looked at.
TEST_F(UnixListenerRaceTest, ASocketThatIsReplacedAfterItsProbeIsLeftAlone) {
  test::ListenAt(Path());
  UniqueFd live;
  Act replace = [&] {
    fs::rename(Path(), dir_.File("dead"));
    live = test::ListenAt(Path());
  };
  before_taking_over = &replace;
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kAlreadyExists,
                                 HasSubstr("the path changed")));
  EXPECT_THAT(Dial(Address(), ::geteuid(), absl::Now()), IsOk());
}

// Nor does a stop remove what takes the path when it has been looked at.
TEST_F(UnixListenerRaceTest, ASocketThatReplacesOursAsWeStopIsLeftAlone) {
  const auto listener = Listen();
  ASSERT_THAT(listener, IsOk());
  UniqueFd live;
  Act replace = [&] {
    fs::rename(Path(), dir_.File("ours"));
    live = test::ListenAt(Path());
  };
  before_taking_over = &replace;
  (*listener)->Close();
  EXPECT_EQ(before_taking_over, nullptr);
  EXPECT_THAT(Dial(Address(), ::geteuid(), absl::Now()), IsOk());
}

TEST_F(UnixListenerRaceTest, TheSocketIsCompleteInTheMomentItAppears) {
  bool has_looked = false;
  Act look = [&] {
    has_looked = true;
    EXPECT_THAT(Dial(Address(), ::geteuid(), absl::Now()), IsOk());
    EXPECT_EQ(fs::status(Path()).permissions(), fs::perms{0640});
  };
  after_rename = &look;
  EXPECT_THAT(UnixListener::Listen(Address(), {.mode = 0640}), IsOk());
  EXPECT_TRUE(has_looked);
}

}  // namespace
}  // namespace tandem::rpc

// Runs a piece of a test in a process of its own, also as another user.

#ifndef TANDEM_TESTS_SUPPORT_CHILD_H_
#define TANDEM_TESTS_SUPPORT_CHILD_H_

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <utility>

#include "gtest/gtest.h"

namespace tandem::test {

// A user that no test machine needs to know.
inline constexpr uid_t kForeignUid = 54321;

// Only root becomes somebody else. Tests that need it begin with
//   if (!CanBecomeOthers()) GTEST_SKIP() << kNeedsRoot;
inline bool CanBecomeOthers() { return ::geteuid() == 0; }
inline constexpr char kNeedsRoot[] =
    "NOT TESTED: needs root to become another user; run the tests with sudo";

// Says one thing from one process to another. To be made before the Child that
// uses it, which has both ends too.
class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_, O_CLOEXEC) != 0) std::abort();
  }
  ~Pipe() {
    Close();
    ::close(ends_[0]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  void Write(char byte) {
    if (::write(ends_[1], &byte, 1) != 1) std::abort();
  }
  // Waits; 0 once all other processes have closed or left.
  char Read() {
    char byte = 0;
    return ::read(ends_[0], &byte, 1) == 1 ? byte : 0;
  }
  // Waits until the process that made the pipe calls Close().
  void WaitClosed() {
    Close();
    Read();
  }
  void Close() {
    if (ends_[1] >= 0) ::close(std::exchange(ends_[1], -1));
  }

 private:
  int ends_[2];
};

// A child that uses gRPC must be forked before gRPC has threads. ctest runs
// each test in a process of its own; where several share one, such tests begin
// with
//   if (!RunsAlone()) GTEST_SKIP() << kRunsAlone;
inline bool RunsAlone() {
  return ::testing::UnitTest::GetInstance()->test_to_run_count() == 1;
}
inline constexpr char kRunsAlone[] =
    "NOT TESTED: forks, so it runs alone only; use ctest or --gtest_filter";

// A forked child that runs `body` and exits with its result. Killed with the
// object. To be made before the test has threads.
class Child {
 public:
  explicit Child(const std::function<int()>& body) : pid_(::fork()) {
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::_exit(body());
  }
  ~Child() {
    if (pid_ > 0) Kill();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }

  // The exit status; -1 when a signal ended it.
  int Wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  // SIGKILL, and waits until it is gone.
  void Kill() {
    ::kill(pid_, SIGKILL);
    Wait();
  }

 private:
  pid_t pid_;
};

// Makes this process (a child) that user, for ever, in `groups` alone.
inline bool Become(uid_t uid, std::initializer_list<gid_t> groups = {}) {
  return ::setgroups(groups.size(), groups.begin()) == 0 &&
         ::setresgid(uid, uid, uid) == 0 && ::setresuid(uid, uid, uid) == 0;
}

// Runs `body` as that user; returns its result, or -1.
inline int RunAs(uid_t uid, const std::function<int()>& body) {
  return Child([&] { return Become(uid) ? body() : 99; }).Wait();
}

}  // namespace tandem::test

#endif  // TANDEM_TESTS_SUPPORT_CHILD_H_

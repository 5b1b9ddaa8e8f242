#include "rpc/testing/process.h"

#include <csignal>
#include <iterator>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::rpc::testing {
namespace {

using ::testing::HasSubstr;

class ProcessTest : public ::testing::Test {
 protected:
  std::unique_ptr<Process> Shell(const std::string& script) {
    auto process =
        Process::Start({.command = {"/bin/sh", "-c", script},
                        .log_path = temp_.File("log"),
                        .environment = {"GREETING=hello", "HOME=/nowhere"}});
    EXPECT_THAT(process, IsOk());
    return process.ok() ? *std::move(process) : nullptr;
  }
  std::string Log() { return ReadFile(temp_.File("log")).value_or(""); }

  TempDir temp_;
};

TEST_F(ProcessTest, ReportsTheExitStatus) {
  EXPECT_THAT(Shell("exit 7")->Wait(absl::Seconds(20)), IsOkAndHolds(7));
}

TEST_F(ProcessTest, ReportsTheSignalThatEndedIt) {
  EXPECT_THAT(Shell("kill -KILL $$")->Wait(absl::Seconds(20)),
              IsOkAndHolds(128 + SIGKILL));
}

TEST_F(ProcessTest, KeepsBothOutputsAndPassesTheEnvironment) {
  ASSERT_THAT(Shell("echo $GREETING; echo $HOME >&2")->Wait(absl::Seconds(20)),
              IsOkAndHolds(0));
  EXPECT_EQ(Log(), "hello\n/nowhere\n");
}

TEST_F(ProcessTest, NamesAProgramThatIsNotThere) {
  EXPECT_THAT(
      Process::Start(
          {.command = {"/nowhere/program"}, .log_path = temp_.File("log")}),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/program")));
}

TEST_F(ProcessTest, WaitEndsAtItsDeadline) {
  auto sleeper = Shell("exec sleep 1000");
  EXPECT_THAT(sleeper->Wait(absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("runs")));
  EXPECT_TRUE(sleeper->is_running());
}

TEST_F(ProcessTest, IsKilledWithTheObject) {
  pid_t pid = 0;
  {
    auto process = Shell("exec sleep 1000");
    pid = process->pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_NE(::kill(pid, 0), 0);
}

// The kernel ties a program to the thread that started it, and would kill it
// with a thread of the test's that comes and goes.
TEST_F(ProcessTest, OutlivesTheThreadThatStartedIt) {
  std::unique_ptr<Process> process;
  std::thread([&] { process = Shell("exec sleep 1000"); }).join();
  EXPECT_THAT(process->Wait(absl::Milliseconds(200)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("")));
}

TEST_F(ProcessTest, StartsWithoutTheSignalsThatTheTestHasBlocked) {
  sigset_t term, before;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &term, &before), 0);
  auto process = Shell("exec sleep 1000");
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
  ASSERT_THAT(process->Signal(SIGTERM), IsOk());
  EXPECT_THAT(process->Wait(absl::Seconds(20)), IsOkAndHolds(128 + SIGTERM));
}

TEST_F(ProcessTest, SignalAfterTheEndIsAnError) {
  auto process = Shell("exit 0");
  ASSERT_THAT(process->Wait(absl::Seconds(20)), IsOkAndHolds(0));
  EXPECT_THAT(process->Signal(SIGTERM),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("ended")));
}

}  // namespace
}  // namespace tandem::rpc::testing

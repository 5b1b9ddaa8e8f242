#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/process.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::test {
namespace {

using rpc::testing::IsOk;
using rpc::testing::IsOkAndHolds;
using ::testing::HasSubstr;

// What the test below starts.
TEST(Child, DISABLED_LeavesASocketOpen) {
  EXPECT_GE(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), 0);
}

TEST(NoSocketLeftTest, WhatLeavesASocketOpenFails) {
  const rpc::testing::TempDir dir;
  const auto child = rpc::testing::Process::Start(
      {.command = {"/proc/self/exe", "--gtest_also_run_disabled_tests",
                   "--gtest_filter=Child.*"},
       .log_path = dir.File("log")});
  ASSERT_THAT(child, IsOk());
  EXPECT_THAT((*child)->Wait(absl::Seconds(40)), IsOkAndHolds(1));
  EXPECT_THAT(rpc::ReadFile(dir.File("log")),
              IsOkAndHolds(HasSubstr("left open: socket:[")));
}

}  // namespace
}  // namespace tandem::test

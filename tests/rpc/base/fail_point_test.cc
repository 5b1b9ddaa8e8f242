#include "rpc/base/fail_point.h"

#include <csignal>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/process.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::rpc {
namespace {

using ::testing::HasSubstr;
using testing::IsOkAndHolds;

constexpr int kKilled = 128 + SIGKILL;

// The program that the tests below start.
TEST(Child, DISABLED_PassesAThreeTimesAndBOnce) {
  FailPoint("a");
  FailPoint("a");
  FailPoint("b");
  FailPoint("a");
}

class FailPointTest : public ::testing::Test {
 protected:
  // The child's end with this environment.
  absl::StatusOr<int> Run(std::vector<std::string> environment) {
    const auto child = testing::Process::Start(
        {.command = {"/proc/self/exe", "--gtest_also_run_disabled_tests",
                     "--gtest_filter=Child.*"},
         .log_path = dir_.File("log"),
         .environment = std::move(environment)});
    if (!child.ok()) return child.status();
    return (*child)->Wait(absl::Seconds(30));
  }

  std::string Read(const std::string& name) {
    return ReadFile(dir_.File(name)).value_or("");
  }

  testing::TempDir dir_;
};

TEST_F(FailPointTest, APointIsPassedUnlessItIsNamed) {
  EXPECT_THAT(Run({}), IsOkAndHolds(0));
  EXPECT_THAT(Run({"TANDEM_FAIL_POINT=c"}), IsOkAndHolds(0));
  EXPECT_THAT(Run({"TANDEM_FAIL_POINT=a:4"}), IsOkAndHolds(0));
}

TEST_F(FailPointTest, TheNamedPassKillsTheProgram) {
  const std::string trace = "TANDEM_FAIL_POINT_TRACE=" + dir_.File("trace");
  EXPECT_THAT(Run({"TANDEM_FAIL_POINT=a", trace}), IsOkAndHolds(kKilled));
  EXPECT_EQ(Read("trace"), "a\n");
  EXPECT_THAT(Run({"TANDEM_FAIL_POINT=a:3", trace}), IsOkAndHolds(kKilled));
  EXPECT_EQ(Read("trace"), "a\na\na\nb\na\n");
  EXPECT_THAT(Run({"TANDEM_FAIL_POINT=b:1"}), IsOkAndHolds(kKilled));
  EXPECT_THAT(Read("log"), HasSubstr("ends at b"));
}

TEST_F(FailPointTest, WhatCannotBeDoneEndsTheProgramAtItsStart) {
  for (const char* wrong : {"a:0", "a:", "a:x", "a:-1", "a:1:2"}) {
    EXPECT_THAT(Run({std::string("TANDEM_FAIL_POINT=") + wrong}),
                IsOkAndHolds(2))
        << wrong;
  }
  EXPECT_THAT(Run({"TANDEM_FAIL_POINT_TRACE=" + dir_.File("no/such")}),
              IsOkAndHolds(2));
  EXPECT_THAT(Read("log"), HasSubstr("No such file"));
}

}  // namespace
}  // namespace tandem::rpc

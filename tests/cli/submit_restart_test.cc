// `tandem submit` while the application or the node dies and comes back.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"
#include "tests/cli/cli.h"

namespace tandem::node::testing {
namespace {

using rpc::testing::IsOk;
using rpc::testing::IsOkAndHolds;
using rpc::testing::ProcessPair;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kProgram[] = TANDEM_BIN_DIR "/tandem";
constexpr char kNoTerminal[] =
    "SKIPPED: script(1) makes the terminal; apt-get install bsdutils";

class SubmitRestartTest : public ::testing::Test {
 protected:
  SubmitRestartTest()
      : app_({.server = {TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                         "{socket}", "--data", "{dir}"}}),
        node_(
            {.server = {TANDEM_BIN_DIR "/tandem-node", "--app", app_.address(),
                        "--listen", "{socket}", "--data", "{dir}"}}) {}

  // The path of a file of so many lines.
  std::string WriteLines(int count) {
    const std::string path = cli_.File("lines");
    std::ofstream file(path);
    for (int i = 1; i <= count; ++i) file << "key" << i << "=" << i << "\n";
    return path;
  }

  // Starts both, and waits until the first transaction is committed.
  void StartBoth() {
    ASSERT_THAT(app_.Start(), IsOk());
    ASSERT_THAT(node_.Start(), IsOk());
    const Outcome outcome = cli_.Run(
        {"submit", "--node", node_.address(), "--timeout", "60"}, "first=1\n");
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }

  // `submit` on a terminal, which shows what it waits for. Null, and the test
  // is to be skipped, where there is no script(1).
  std::unique_ptr<Running> SubmitOnTerminal(const std::string& path) {
    constexpr char kScript[] = "/usr/bin/script";
    if (::access(kScript, X_OK) != 0) return nullptr;
    return std::make_unique<Running>(
        dir_,
        std::vector<std::string>{
            kScript, "-qefc",
            absl::StrCat(kProgram, " submit --node ", node_.address(),
                         " --timeout 60 ", path),
            "/dev/null"},
        std::vector<std::string>{}, "/dev/null");
  }

  static bool WaitFor(const Running& running, std::string_view text) {
    const absl::Time limit = absl::Now() + kLong;
    while (running.out().find(text) == std::string::npos) {
      if (absl::Now() > limit) return false;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return true;
  }

  rpc::testing::TempDir dir_;
  Cli cli_;
  ProcessPair app_;
  ProcessPair node_;
};

TEST_F(SubmitRestartTest, WaitsForAnApplicationThatIsAway) {
  StartBoth();
  app_.Kill();
  const auto submit = SubmitOnTerminal(WriteLines(2000));
  if (submit == nullptr) GTEST_SKIP() << kNoTerminal;
  ASSERT_TRUE(WaitFor(*submit, "waiting for the application")) << submit->out();
  ASSERT_THAT(app_.Start(), IsOk());
  const Outcome outcome = submit->Wait();
  EXPECT_EQ(outcome.status, 0) << outcome.out;
  EXPECT_THAT(outcome.out, HasSubstr("2000 committed"));
}

TEST_F(SubmitRestartTest, WaitsForANodeThatGoesAway) {
  StartBoth();
  const auto submit = SubmitOnTerminal(WriteLines(20000));
  if (submit == nullptr) GTEST_SKIP() << kNoTerminal;
  ASSERT_TRUE(WaitFor(*submit, "lines answered")) << submit->out();
  EXPECT_THAT(node_.Terminate(), IsOkAndHolds(0));
  ASSERT_TRUE(WaitFor(*submit, "waiting for the node")) << submit->out();
  ASSERT_THAT(node_.Start(), IsOk());
  EXPECT_THAT(submit->Wait().out, HasSubstr("committed in blocks"));
}

TEST_F(SubmitRestartTest, LosesNoLineWhenTheApplicationIsKilledMeanwhile) {
  StartBoth();
  const auto submit = cli_.Start({"submit", "--json", "--node", node_.address(),
                                  "--timeout", "60", WriteLines(20000)});
  ASSERT_TRUE(submit->WaitLines(1));
  ASSERT_THAT(app_.Restart(), IsOk());
  const Outcome outcome = submit->Wait();
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  const auto objects = outcome.Objects();
  ASSERT_THAT(objects, SizeIs(20000));
  for (const auto& object : objects) ASSERT_GT(object["height"], 0) << object;
}

TEST_F(SubmitRestartTest, LosesNoLineWhenTheNodeIsKilledMeanwhile) {
  StartBoth();
  const auto submit = cli_.Start({"submit", "--json", "--node", node_.address(),
                                  "--timeout", "60", WriteLines(20000)});
  for (const int answered : {1, 6000, 12000}) {
    ASSERT_TRUE(submit->WaitLines(answered));
    ASSERT_THAT(node_.Restart(), IsOk());
  }
  const Outcome outcome = submit->Wait();
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  const auto objects = outcome.Objects();
  ASSERT_THAT(objects, SizeIs(20000));
  for (const auto& object : objects) ASSERT_GT(object["height"], 0) << object;

  // Each once: the app hash is the number of transactions in all blocks, 20001,
  // as a zigzag varint.
  const Outcome status = cli_.Run({"status", "--json", node_.address()}, "");
  EXPECT_THAT(status.out, HasSubstr("\"app_hash\":\"c2b8020000000000\""));
}

TEST_F(SubmitRestartTest, GivesUpWhenTheTimeIsOver) {
  StartBoth();
  app_.Kill();
  const Outcome outcome = cli_.Run(
      {"submit", "--node", node_.address(), "--timeout", "0.5"}, "a=1\n");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("line 1: UNAVAILABLE"), HasSubstr("away")));
}

}  // namespace
}  // namespace tandem::node::testing

// A real CometBFT node, one validator, that drives tandem-kvstore over gRPC.

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/process.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tendermint/abci/types.tandem.h"
#include "tests/interop/go_program.h"
#include "tests/support/eventually.h"

namespace tandem::test {
namespace {

namespace abci = ::tendermint::abci;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::IsOkAndHolds;
using ::tandem::rpc::testing::Process;
using ::tandem::rpc::testing::ProcessPair;

constexpr char kPackage[] = "github.com/cometbft/cometbft/cmd/cometbft";
constexpr char kVersion[] = "v0.38.23";

class CometBftTest : public ::testing::Test {
 protected:
  CometBftTest()
      : app_({.server = {TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                         "{socket}", "--data", "{dir}"}}) {}

  void SetUp() override {
    const auto program = GoProgram(kPackage, kVersion);
    if (!program.ok()) GTEST_SKIP() << program.status().message();
    program_ = *program;
    ASSERT_THAT(app_.Start(), IsOk());
    const auto init = Start({"init"});
    ASSERT_THAT(init, IsOk());
    ASSERT_THAT((*init)->Wait(absl::Seconds(60)), IsOkAndHolds(0));
    Configure();
  }

  void TearDown() override {
    if (HasFailure()) {
      const std::string log = rpc::ReadFile(temp_.File("log")).value_or("");
      printf("--- the end of what cometbft wrote:\n%s\n---\n",
             log.substr(log.size() > 4000 ? log.size() - 4000 : 0).c_str());
    }
  }

  absl::StatusOr<std::unique_ptr<Process>> Start(
      std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), program_);
    arguments.insert(arguments.end(), {"--home", temp_.File("home")});
    return Process::Start(
        {.command = std::move(arguments), .log_path = temp_.File("log")});
  }

  // Fast blocks, and ports that nobody else has.
  void Configure() {
    const std::string path = temp_.File("home/config/config.toml");
    const std::string text = absl::StrReplaceAll(
        rpc::ReadFile(path).value_or(""),
        {{"timeout_commit = \"1s\"", "timeout_commit = \"10ms\""},
         {"laddr = \"tcp://127.0.0.1:26657\"", "laddr = \"tcp://127.0.0.1:0\""},
         {"laddr = \"tcp://0.0.0.0:26656\"", "laddr = \"tcp://127.0.0.1:0\""}});
    std::ofstream(path) << text;
  }

  absl::StatusOr<std::unique_ptr<Process>> StartNode() {
    return Start({"start", "--abci", "grpc", "--proxy_app",
                  "unix://" + app_.address().substr(5)});
  }

  std::int64_t Height() {
    abci::ABCIClient app(app_.channel());
    const auto info = app.Info({}, {.timeout = absl::Seconds(30)});
    return info.ok() ? info->last_block_height() : -1;
  }

  bool WaitForHeight(std::int64_t height) {
    return Eventually([&] { return Height() >= height; });
  }

  const rpc::testing::TempDir temp_;
  ProcessPair app_;
  std::string program_;
};

TEST_F(CometBftTest, MakesBlocksWithOurApplication) {
  const auto node = StartNode();
  ASSERT_THAT(node, IsOk());
  EXPECT_TRUE(WaitForHeight(5));
}

// Both are killed; the node asks Info, and goes on where the app is.
TEST_F(CometBftTest, GoesOnAfterBothWereKilled) {
  auto node = StartNode();
  ASSERT_THAT(node, IsOk());
  ASSERT_TRUE(WaitForHeight(5));
  node->reset();
  app_.Kill();
  ASSERT_THAT(app_.Start(), IsOk());
  const std::int64_t height = Height();
  EXPECT_GE(height, 5);
  node = StartNode();
  ASSERT_THAT(node, IsOk());
  EXPECT_TRUE(WaitForHeight(height + 5));
}

}  // namespace
}  // namespace tandem::test

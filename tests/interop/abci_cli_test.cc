// CometBFT's command line against tandem-kvstore: the ABCI socket protocol and
// gRPC over one unix socket, by code that is not ours on the other side.

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/process.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tendermint/abci/types.tandem.h"
#include "tests/interop/cometbft.h"
#include "tests/interop/go_program.h"

namespace tandem::test {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::Process;
using ::tandem::rpc::testing::ProcessPair;

constexpr char kAbciCli[] = "github.com/cometbft/cometbft/abci/cmd/abci-cli";

// What a file of tests/interop/abci_cli holds: the two examples that CometBFT
// tests its own kvstore with, and what that one answers.
std::string Golden(const std::string& name) {
  const auto text = rpc::ReadFile(TANDEM_TEST_DATA "/" + name);
  EXPECT_THAT(text, IsOk());
  return text.value_or("");
}

class AbciCliTest : public ::testing::TestWithParam<CometBft> {
 protected:
  AbciCliTest()
      : app_({.server = {TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                         "{socket}", "--data", "{dir}"}}) {}

  void SetUp() override {
    const auto program = GoProgram(kAbciCli, GetParam().version);
    if (!program.ok()) GTEST_SKIP() << program.status().message();
    program_ = *program;
    ASSERT_THAT(app_.Start(), IsOk());
  }

  // What abci-cli prints, given `input`.
  std::string AbciCli(std::vector<std::string> arguments,
                      const std::string& input) {
    const rpc::testing::TempDir temp;
    std::ofstream(temp.File("input")) << input;
    // It takes "unix:///path".
    const std::string address = "unix://" + app_.address().substr(5);
    std::vector<std::string> command = {program_,        "--abci",
                                        GetParam().wire, "--address",
                                        address,         "--log_level=error",
                                        "--verbose"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    const auto process = Process::Start({.command = std::move(command),
                                         .log_path = temp.File("log"),
                                         .input_path = temp.File("input")});
    EXPECT_THAT(process, IsOk());
    EXPECT_THAT((*process)->Wait(absl::Seconds(60)), IsOk());
    return rpc::ReadFile(temp.File("log")).value_or("");
  }

  ProcessPair app_;

 private:
  std::string program_;
};

TEST_P(AbciCliTest, FirstExampleIsAnsweredAsTheOriginalDoes) {
  EXPECT_EQ(AbciCli({"batch"}, Golden("example1.txt")), Golden("answers1.txt"));
}

TEST_P(AbciCliTest, SecondExampleIsAnsweredAsTheOriginalDoes) {
  EXPECT_EQ(AbciCli({"batch"}, Golden("example2.txt")), Golden("answers2.txt"));
}

// Its own test suite is older than its kvstore: it begins with validators whose
// keys have a byte too many, at which the original dies.
TEST_P(AbciCliTest, ItsTestsDoNotHurt) {
  AbciCli({"test"}, "");
  EXPECT_TRUE(app_.is_running());
  EXPECT_THAT(AbciCli({"batch"}, "echo hello\n"),
              ::testing::HasSubstr("-> data: hello"));
}

TEST_P(AbciCliTest, BlockWithMalformedTransactionsDoesNotHurt) {
  EXPECT_THAT(AbciCli({"batch"}, "finalize_block \"abc\" \"a:b\"\ncommit\n"),
              ::testing::HasSubstr("-> data.hex: 0x0400000000000000"));
  EXPECT_THAT(AbciCli({"batch"}, "query \"a\"\nquery \"abc\"\n"),
              ::testing::AllOf(::testing::HasSubstr("-> value: b"),
                               ::testing::HasSubstr("does not exist")));
}

INSTANTIATE_TEST_SUITE_P(With, AbciCliTest, AllCometBfts(),
                         [](const auto& cometbft) {
                           return NameOf(cometbft.param);
                         });

}  // namespace
}  // namespace tandem::test

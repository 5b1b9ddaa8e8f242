// Programs that are started without standard input, output and error.

#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/process.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"

namespace tandem {
namespace {

using rpc::testing::IsOk;
using rpc::testing::IsOkAndHolds;
using rpc::testing::Process;
using rpc::testing::ProcessPair;
using ::testing::Each;
using ::testing::ElementsAre;

// `command` with `redirections`.
std::vector<std::string> With(std::string_view redirections,
                              std::vector<std::string> command) {
  command.insert(command.begin(), {"/bin/sh", "-c",
                                   absl::StrCat("exec \"$0\" \"$@\" ",
                                                std::string(redirections))});
  return command;
}

constexpr std::string_view kAllClosed = "<&- >&- 2>&-";

// What the standard descriptors of a process are.
std::vector<std::string> StandardOf(pid_t pid) {
  std::vector<std::string> targets;
  for (int descriptor : {0, 1, 2}) {
    std::error_code error;
    targets.push_back(std::filesystem::read_symlink(
        absl::StrCat("/proc/", pid, "/fd/", descriptor), error));
  }
  return targets;
}

TEST(StandardDescriptorsTest, NothingOfOursTakesTheirPlace) {
  ProcessPair app(
      {.server = With(kAllClosed, {TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                                   "{socket}", "--data", "{dir}"})});
  ASSERT_THAT(app.Start(), IsOk());
  EXPECT_THAT(StandardOf(app.pid()), Each("/dev/null"));
  ProcessPair node(
      {.server = With(kAllClosed,
                      {TANDEM_BIN_DIR "/tandem-node", "--app", app.address(),
                       "--listen", "{socket}", "--data", "{dir}"})});
  ASSERT_THAT(node.Start(), IsOk());
  EXPECT_THAT(StandardOf(node.pid()), Each("/dev/null"));
  EXPECT_THAT(node.Terminate(), IsOkAndHolds(0));
  EXPECT_THAT(app.Terminate(), IsOkAndHolds(0));
}

TEST(StandardDescriptorsTest, NorInTheCommandLine) {
  rpc::testing::TempDir dir;
  const auto up = Process::Start(
      {.command = With("<&- 2>&-", {TANDEM_BIN_DIR "/tandem", "up", "--data",
                                    dir.File("data")}),
       .log_path = dir.File("log")});
  ASSERT_THAT(up, IsOk());
  const std::string ready = dir.File("data") + "/node";
  const absl::Time limit = absl::Now() + absl::Seconds(30);
  while (!std::filesystem::exists(ready)) {
    ASSERT_LT(absl::Now(), limit);
    ASSERT_TRUE((*up)->is_running());
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_THAT(StandardOf((*up)->pid()),
              ElementsAre("/dev/null", dir.File("log"), "/dev/null"));
}

}  // namespace
}  // namespace tandem

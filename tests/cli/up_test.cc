#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "rpc/base/file.h"
#include "rpc/testing/status_matchers.h"
#include "tests/cli/cli.h"

namespace tandem::node::testing {
namespace {

using ::tandem::rpc::testing::IsOkAndHolds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

bool Exists(const std::string& path) {
  struct stat found;
  return ::lstat(path.c_str(), &found) == 0;
}

// What a stopped pair must not leave.
void ExpectNobodyListens(const Cli& cli) {
  EXPECT_FALSE(Exists(cli.data() + "/run/app.sock"));
  EXPECT_FALSE(Exists(cli.data() + "/run/node.sock"));
  EXPECT_FALSE(Exists(cli.data() + "/run/addresses.json"));
}

TEST(UpTest, SaysWhereBothListen) {
  Cli cli;
  const auto up = cli.Up();
  const auto ready = Cli::Ready(*up);
  EXPECT_EQ(ready["data"], cli.data());
  EXPECT_EQ(ready["app"]["address"], "unix:" + cli.data() + "/run/app.sock");
  EXPECT_EQ(ready["node"]["address"], "unix:" + cli.data() + "/run/node.sock");
}

TEST(UpTest, TheDataIsForItsOwnerAlone) {
  Cli cli;
  const auto up = cli.Up();
  struct stat found;
  ASSERT_EQ(::stat(cli.data().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0700u);
}

class UpSignalTest : public ::testing::TestWithParam<int> {};

TEST_P(UpSignalTest, StopsBothAndExitsWithZero) {
  Cli cli;
  const auto up = cli.Up();
  const auto ready = Cli::Ready(*up);
  const Watched app(ready["app"]["pid"]);
  const Watched node(ready["node"]["pid"]);
  up->Signal(GetParam());
  const Outcome outcome = up->Wait();
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(app.WaitEnded());
  EXPECT_TRUE(node.WaitEnded());
  ExpectNobodyListens(cli);
}

INSTANTIATE_TEST_SUITE_P(Signals, UpSignalTest,
                         ::testing::Values(SIGTERM, SIGINT),
                         [](const auto& signal) -> std::string {
                           return signal.param == SIGINT ? "Int" : "Term";
                         });

TEST(UpTest, ASecondOneOnTheSameDirectoryIsRefused) {
  Cli cli;
  const auto up = cli.Up();
  const Outcome second = cli.Run({"up"});
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.err,
              HasSubstr("another `tandem up` runs in " + cli.data()));
  EXPECT_EQ(cli.Run({"status"}).status, 0);
}

TEST(UpTest, ADirectoryTooDeepForASocketWorks) {
  Cli cli(std::string(120, 'd'));
  const auto up = cli.Up();
  const auto ready = Cli::Ready(*up);
  const std::string address = ready["node"]["address"];
  EXPECT_THAT(address, StartsWith("unix:/tmp/tandem-"));
  EXPECT_EQ(cli.Run({"submit"}, "deep=yes\n").status, 0);
  EXPECT_EQ(cli.Run({"query", "deep"}).out, "yes\n");
  up->Signal(SIGTERM);
  EXPECT_EQ(up->Wait().status, 0);
  const std::string directory =
      std::filesystem::path(address.substr(5)).parent_path();
  EXPECT_FALSE(Exists(directory));
}

TEST(UpTest, AShortDirectoryThatAKilledOneLeftIsUsedAgain) {
  Cli cli(std::string(120, 'd'));
  auto up = cli.Up();
  const auto before = Cli::Ready(*up);
  const Watched app(before["app"]["pid"]);
  const Watched node(before["node"]["pid"]);
  up->Signal(SIGKILL);
  EXPECT_TRUE(app.WaitEnded());
  EXPECT_TRUE(node.WaitEnded());
  up = cli.Up();
  EXPECT_EQ(Cli::Ready(*up)["node"]["address"], before["node"]["address"]);
  up->Signal(SIGTERM);
  EXPECT_EQ(up->Wait().status, 0);
}

TEST(UpTest, TakesItsChildrenWithItWhenKilled) {
  Cli cli;
  const auto up = cli.Up();
  const auto ready = Cli::Ready(*up);
  const Watched app(ready["app"]["pid"]);
  const Watched node(ready["node"]["pid"]);
  up->Signal(SIGKILL);
  EXPECT_TRUE(app.WaitEnded());
  EXPECT_TRUE(node.WaitEnded());
}

class UpChildTest : public ::testing::TestWithParam<const char*> {};

TEST_P(UpChildTest, StopsTheOtherAndFailsWhenOneDies) {
  Cli cli;
  const auto up = cli.Up();
  const auto ready = Cli::Ready(*up);
  const std::string other = GetParam() == std::string("app") ? "node" : "app";
  const Watched left(ready[other]["pid"]);
  ASSERT_EQ(::kill(ready[GetParam()]["pid"], SIGKILL), 0);
  const Outcome outcome = up->Wait();
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("was ended by signal 9 (Killed)"));
  EXPECT_THAT(outcome.err, HasSubstr("pid " + ready[GetParam()]["pid"].dump()));
  EXPECT_TRUE(left.WaitEnded());
}

INSTANTIATE_TEST_SUITE_P(Children, UpChildTest,
                         ::testing::Values("app", "node"),
                         [](const auto& child) -> std::string {
                           return child.param;
                         });

TEST(UpTest, WhatWasCommittedIsThereAfterAKill) {
  Cli cli;
  auto up = cli.Up();
  ASSERT_EQ(cli.Run({"submit"}, "color=blue\n").status, 0);
  const Watched app(Cli::Ready(*up)["app"]["pid"]);
  const Watched node(Cli::Ready(*up)["node"]["pid"]);
  up->Signal(SIGKILL);
  ASSERT_TRUE(app.WaitEnded());
  ASSERT_TRUE(node.WaitEnded());
  up = cli.Up();
  EXPECT_EQ(cli.Run({"query", "color"}).out, "blue\n");
}

TEST(UpTest, AFileInThePlaceOfTheDirectoryIsNamed) {
  Cli cli;
  std::ofstream(cli.data()) << "precious";
  const Outcome outcome = cli.Run({"up"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr(cli.data() + " is there and is not a "
                                                  "directory"));
  EXPECT_THAT(rpc::ReadFile(cli.data()), IsOkAndHolds("precious"));
}

TEST(UpTest, AChildThatRefusesItsDataIsReported) {
  Cli cli;
  ASSERT_EQ(cli.Run({"up", "--genesis", cli.File("none.json")}).status, 1);
  EXPECT_EQ(cli.Run({"up", "--validator-key", cli.File("none.json")}).status,
            1);
  const Outcome outcome = cli.Run({"up", "--genesis", cli.File("none.json")});
  EXPECT_THAT(outcome.err, HasSubstr("tandem-node"));
  EXPECT_THAT(outcome.err, HasSubstr("none.json"));
}

TEST(UpTest, AReaderThatWentAwayStopsBoth) {
  Cli cli;
  const Outcome outcome =
      cli.RunBash("\"$0\" up | true; echo \"${PIPESTATUS[0]}\"");
  EXPECT_EQ(outcome.out, "141\n");
  ExpectNobodyListens(cli);
}

}  // namespace
}  // namespace tandem::node::testing

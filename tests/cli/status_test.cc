#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <memory>
#include <string>

#include "tests/cli/cli.h"

namespace tandem::node::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

TEST(StatusTest, SaysHowTheNodeIs) {
  Cli cli;
  const auto up = cli.Up();
  cli.Run({"submit"}, "a=1\n");
  const auto objects = cli.Run({"status", "--json"}).Objects();
  ASSERT_THAT(objects, SizeIs(1));
  const auto& status = objects[0];
  EXPECT_EQ(status["address"], Cli::Ready(*up)["node"]["address"]);
  EXPECT_THAT(status["server"]["name"], StartsWith("tandem-node"));
  EXPECT_EQ(status["server"]["caller"]["uid"], ::geteuid());
  EXPECT_TRUE(status["server"]["services"].contains("tandem.node.v1.Node"));
  EXPECT_GT(status["chain"]["height"], 0);
  EXPECT_EQ(status["app"]["state"], "RUNNING");
  EXPECT_EQ(status["mempool"]["transactions"], 0);
  // The application's words of then: it has a transaction by now.
  EXPECT_EQ(status["app"]["data_when_connected"], "{\"size\":0}");
}

TEST(StatusTest, SaysWhoTheApplicationIs) {
  Cli cli;
  const auto up = cli.Up();
  const std::string address = Cli::Ready(*up)["app"]["address"];
  const Outcome outcome = cli.Run({"status", address});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("tandem-kvstore"));
  EXPECT_THAT(outcome.out, HasSubstr("tendermint.abci.ABCI"));
}

TEST(StatusTest, AFileThatIsNoSocketIsAnError) {
  Cli cli;
  std::ofstream(cli.File("file")) << "precious";
  const Outcome outcome = cli.Run({"status", "unix:" + cli.File("file")});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr(cli.File("file")));
}

TEST(StatusTest, AnAddressThatIsNoneIsAnError) {
  Cli cli;
  const Outcome outcome = cli.Run({"status", "localhost:80"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("localhost:80"));
}

TEST(StatusTest, AStoppedPairIsNotThere) {
  Cli cli;
  const auto up = cli.Up();
  up->Signal(SIGTERM);
  ASSERT_EQ(up->Wait().status, 0);
  const Outcome outcome = cli.Run({"status"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("no pair runs in " + cli.data()));
}

TEST(HelpTest, EveryCommandShowsAnExample) {
  Cli cli;
  for (const char* command :
       {"up", "submit", "query", "status", "watch", "doctor"}) {
    const Outcome outcome = cli.Run({command, "--help"});
    EXPECT_EQ(outcome.status, 0) << command;
    EXPECT_THAT(outcome.out, HasSubstr("Example:")) << command;
    EXPECT_THAT(outcome.out, HasSubstr("--json")) << command;
  }
}

TEST(HelpTest, WhatIsNotUnderstoodIsAUsageError) {
  Cli cli;
  EXPECT_EQ(cli.Run({}).status, 2);
  EXPECT_EQ(cli.Run({"fly"}).status, 2);
  EXPECT_EQ(cli.Run({"submit", "--wait", "forever"}).status, 2);
  EXPECT_EQ(cli.Run({"--version"}).status, 0);
}

}  // namespace
}  // namespace tandem::node::testing

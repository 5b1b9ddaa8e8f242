#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/cli/cli.h"

namespace tandem::node::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class WatchTest : public ::testing::Test {
 protected:
  // Commits a transaction that was not there before; returns its height.
  std::int64_t Commit() {
    const auto objects =
        cli_.Run({"submit", "--json"}, absl::StrCat("k", ++count_, "=1\n"))
            .Objects();
    return objects.empty() ? -1 : objects[0]["height"].get<std::int64_t>();
  }

  void KillPair() {
    const Watched app(Cli::Ready(*up_)["app"]["pid"]);
    const Watched node(Cli::Ready(*up_)["node"]["pid"]);
    up_->Signal(SIGKILL);
    EXPECT_TRUE(app.WaitEnded());
    EXPECT_TRUE(node.WaitEnded());
  }

  Cli cli_;
  std::unique_ptr<Running> up_ = cli_.Up();
  int count_ = 0;
};

TEST_F(WatchTest, PrintsBlocksFromAHeightOn) {
  const std::int64_t last = Commit();
  const auto watch = cli_.Start(
      {"watch", "--json", "--from", "1", "--count", absl::StrCat(last + 1)});
  EXPECT_TRUE(watch->WaitLines(static_cast<int>(last)));
  Commit();
  const Outcome outcome = watch->Wait();
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  const auto objects = outcome.Objects();
  ASSERT_THAT(objects, SizeIs(last + 1));
  for (std::int64_t i = 0; i <= last; ++i)
    EXPECT_EQ(objects[i]["height"], i + 1);
  const auto& txs = objects[last - 1]["txs"];
  ASSERT_THAT(txs, SizeIs(1));
  EXPECT_EQ(txs[0]["tx"], "k1=1");
  EXPECT_EQ(txs[0]["tx_hex"], "6b313d31");
  EXPECT_EQ(txs[0]["code"], 0);
}

TEST_F(WatchTest, GoesOnOverARestartWithoutGapOrRepetition) {
  const std::int64_t first = Commit();
  const auto watch = cli_.Start(
      {"watch", "--json", "--from", absl::StrCat(first), "--count", "3"});
  EXPECT_TRUE(watch->WaitLines(1));
  KillPair();
  up_ = cli_.Up();
  Commit();
  Commit();
  const Outcome outcome = watch->Wait();
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("waiting for the node"));
  const auto objects = outcome.Objects();
  ASSERT_THAT(objects, SizeIs(3));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(objects[i]["height"], first + i);
}

TEST_F(WatchTest, ANodeThatComesBackWithAnotherChainIsAnError) {
  Commit();
  const std::int64_t last = Commit();
  const auto watch =
      cli_.Start({"watch", "--json", "--from", absl::StrCat(last)});
  EXPECT_TRUE(watch->WaitLines(1));
  KillPair();
  cli_.AllowOlderState();
  std::filesystem::remove_all(cli_.data());
  up_ = cli_.Up();
  const Outcome outcome = watch->Wait();
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("another chain"));
}

TEST_F(WatchTest, ASignalEndsItAfterWholeLines) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::int64_t last = Commit();
    const auto watch = cli_.Start({"watch", "--json", "--from", "1"});
    EXPECT_TRUE(watch->WaitLines(static_cast<int>(last)));
    watch->Signal(signal);
    const Outcome outcome = watch->Wait();
    EXPECT_EQ(outcome.status, 0);
    EXPECT_EQ(outcome.err, "");
    const auto objects = outcome.Objects();
    ASSERT_THAT(objects, SizeIs(last));
    EXPECT_EQ(objects.back()["height"], last);
  }
}

TEST_F(WatchTest, ASignalEndsItWhileTheNodeSaysNothingOrIsAway) {
  const auto watch = cli_.Start({"watch", "--from", "1"});
  EXPECT_TRUE(watch->WaitLines(1));
  const pid_t node = Cli::Ready(*up_)["node"]["pid"];
  ::kill(node, SIGSTOP);
  watch->Signal(SIGTERM);
  EXPECT_EQ(watch->Wait().status, 0);
  ::kill(node, SIGCONT);

  const auto away = cli_.Start({"watch", "--json", "--from", "1"});
  EXPECT_TRUE(away->WaitLines(1));
  KillPair();
  const absl::Time limit = absl::Now() + kLong;
  while (away->err().empty() && absl::Now() < limit) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  away->Signal(SIGINT);
  const Outcome outcome = away->Wait();
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.err, HasSubstr("waiting for the node"));
}

TEST_F(WatchTest, AReaderThatWentAwayEndsItQuietly) {
  const Outcome outcome = cli_.RunBash(
      "for ((i = 0;; i++)); do echo $i=1 | \"$0\" submit >/dev/null; done & "
      "\"$0\" watch --from 1 | head -n 1 | wc -l; "
      "echo \"${PIPESTATUS[0]}\"; kill $!");
  EXPECT_EQ(outcome.out, "1\n141\n");
}

TEST(WatchWithoutNodeTest, RefusesHeightsAndCountsThatAreNone) {
  Cli cli;
  EXPECT_EQ(cli.Run({"watch", "--from", "0"}).status, 2);
  EXPECT_EQ(cli.Run({"watch", "--from", "99999999999999999999"}).status, 2);
  EXPECT_EQ(cli.Run({"watch", "--count", "-1"}).status, 2);
}

TEST(WatchWithoutNodeTest, SaysSo) {
  Cli cli;
  const Outcome outcome =
      cli.Run({"watch", "--node", "unix:" + cli.File("none.sock")});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr(cli.File("none.sock")));
}

}  // namespace
}  // namespace tandem::node::testing

#include "tests/pair/pair.h"

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tendermint/abci/types.tandem.h"
#include "tests/support/eventually.h"

namespace tandem {
namespace {

using node::v1::AppStatus;
using rpc::testing::IsOk;
using rpc::testing::IsOkAndHolds;
using rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// What tandem-node exits with when the application's state is not its chain's.
constexpr int kConflict = 3;

std::string PathOf(const rpc::testing::ProcessPair& server) {
  return server.address().substr(std::string("unix:").size());
}

TEST(PairTest, ACommittedPairIsReadBackThroughTheNode) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  EXPECT_THAT(pair.Commit("name=tandem"), IsOkAndHolds(2));
  EXPECT_THAT(pair.Get("name"), IsOkAndHolds("tandem"));
  EXPECT_THAT(pair.Get("nobody"), IsOkAndHolds(""));
}

TEST(PairTest, AMalformedTransactionCostsNobodyElseAnything) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  const auto reply = pair.Submit({"a=1", "no pair", "", "b=2", "a=1"});
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->results(0).status(), 0);
  EXPECT_EQ(reply->results(1).status(), 0);
  EXPECT_EQ(reply->results(1).result().code(), 2u);
  EXPECT_EQ(reply->results(1).result().height(), 0);
  EXPECT_EQ(reply->results(2).status(), 3);
  EXPECT_GT(reply->results(3).result().height(), 0);
  EXPECT_EQ(reply->results(4).status(), 6);
  EXPECT_THAT(pair.Get("b"), IsOkAndHolds("2"));
}

TEST(PairTest, ABatchOfTooManyIsRefusedAsAWhole) {
  Pair pair;
  ASSERT_THAT(pair.node().Start(), IsOk());
  node::v1::SubmitBatchRequest request;
  for (int i = 0; i < 65'536; ++i) request.add_txs();
  const auto most = pair.client().SubmitBatch(request);
  ASSERT_THAT(most, IsOk());
  EXPECT_EQ(most->results_size(), 65'536);
  request.add_txs();
  EXPECT_THAT(pair.client().SubmitBatch(request),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("65537"), HasSubstr("65536"))));
}

TEST(PairTest, NothingAcknowledgedIsLostWhenTheAppIsKilled) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  ASSERT_THAT(pair.Commit("a=1"), IsOk());
  pair.app().Kill();
  ASSERT_THAT(pair.Await(AppStatus::AWAY), IsOk());
  EXPECT_THAT(pair.Commit("b=2"), StatusIs(absl::StatusCode::kUnavailable,
                                           HasSubstr("application is away")));
  ASSERT_THAT(pair.app().Start(), IsOk());
  ASSERT_THAT(pair.Await(AppStatus::RUNNING), IsOk());
  EXPECT_THAT(pair.Get("a"), IsOkAndHolds("1"));
  EXPECT_THAT(pair.Commit("b=2"), IsOkAndHolds(3));
}

TEST(PairTest, NothingAcknowledgedIsLostWhenTheNodeIsKilled) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  ASSERT_THAT(pair.Commit("a=1"), IsOkAndHolds(2));
  ASSERT_THAT(pair.node().Restart(), IsOk());
  ASSERT_THAT(pair.Await(AppStatus::RUNNING), IsOk());
  EXPECT_THAT(pair.Get("a"), IsOkAndHolds("1"));
  EXPECT_THAT(pair.Commit("b=2"), IsOkAndHolds(3));
}

// Kills one of the two, or both, again and again under load, then looks for all
// that was acknowledged.
TEST(PairTest, NothingAcknowledgedIsLostUnderLoad) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  std::atomic<bool> is_over = false;
  std::map<std::string, std::int64_t> acknowledged;
  std::thread client([&] {
    for (int i = 0; !is_over; ++i) {
      std::vector<std::string> txs;
      for (int j = 0; j < 20; ++j)
        txs.push_back(absl::StrCat("k", i, "-", j, "=v"));
      const auto reply = pair.Submit(txs);
      if (!reply.ok()) continue;
      for (int j = 0; j < reply->results_size(); ++j) {
        const auto& result = reply->results(j);
        if (result.status() == 0 && result.result().height() > 0) {
          acknowledged[txs[j]] = result.result().height();
        }
      }
    }
  });
  for (int round = 0; round < 6; ++round) {
    const auto before = pair.Status();
    ASSERT_THAT(before, IsOk());
    // Some blocks go by, so that the kill comes in the middle of one.
    const absl::Time limit = absl::Now() + absl::Seconds(30);
    while (pair.Status().value_or(*before).height() < before->height() + 3) {
      ASSERT_LT(absl::Now(), limit);
    }
    if (round % 3 != 0) pair.app().Kill();
    if (round % 3 != 1) pair.node().Kill();
    if (!pair.app().is_running()) {
      ASSERT_THAT(pair.app().Start(), IsOk());
    }
    if (!pair.node().is_running()) {
      ASSERT_THAT(pair.node().Start(), IsOk());
    }
    ASSERT_THAT(pair.Await(AppStatus::RUNNING), IsOk());
  }
  is_over = true;
  client.join();
  EXPECT_FALSE(acknowledged.empty());
  for (const auto& [tx, height] : acknowledged) {
    node::v1::GetBlockRequest request;
    request.set_height(height);
    const auto block = pair.client().GetBlock(request);
    ASSERT_THAT(block, IsOk());
    EXPECT_THAT(block->block().txs(), ::testing::Contains(tx));
    ASSERT_THAT(pair.Get(tx.substr(0, tx.find('='))), IsOkAndHolds("v")) << tx;
  }
}

TEST(PairTest, ANodeWaitsForAnAppThatIsNotThere) {
  Pair pair;
  ASSERT_THAT(pair.node().Start(), IsOk());
  const auto status = pair.Status();
  ASSERT_THAT(status, IsOk());
  EXPECT_EQ(status->app().state(), AppStatus::AWAY);
  EXPECT_THAT(pair.node().Log(), HasSubstr("Waiting for the application at " +
                                           pair.app().address()));
  ASSERT_THAT(pair.app().Start(), IsOk());
  ASSERT_THAT(pair.Await(AppStatus::RUNNING), IsOk());
  EXPECT_THAT(pair.Commit("a=1"), IsOk());
}

TEST(PairTest, AnAppOfAnotherUserIsSaidToBeOne) {
  Pair pair({"--app-uid", "54321"});
  ASSERT_THAT(pair.app().Start(), IsOk());
  ASSERT_THAT(pair.node().Start(), IsOk());
  ASSERT_THAT(pair.Await(AppStatus::AWAY), IsOk());
  const auto status = pair.Status();
  ASSERT_THAT(status, IsOk());
  EXPECT_THAT(status->app().reason(),
              AllOf(HasSubstr("not as uid 54321"), HasSubstr("--app-uid")));
}

TEST(PairTest, AnAppThatLostItsDataIsGivenTheChainAgain) {
  Pair pair;
  pair.AllowOlderState();
  ASSERT_THAT(pair.Start(), IsOk());
  ASSERT_THAT(pair.Commit("a=1"), IsOk());
  ASSERT_THAT(pair.Commit("b=2"), IsOk());
  pair.app().Kill();
  std::filesystem::remove_all(pair.app().directory() + "/app");
  ASSERT_THAT(pair.Await(AppStatus::AWAY), IsOk());
  ASSERT_THAT(pair.app().Start(), IsOk());
  ASSERT_THAT(pair.Await(AppStatus::RUNNING), IsOk());
  EXPECT_THAT(pair.Get("a"), IsOkAndHolds("1"));
  EXPECT_THAT(pair.Get("b"), IsOkAndHolds("2"));
}

TEST(PairTest, AnAppThatIsAheadEndsANodeWithoutBlocks) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  ASSERT_THAT(pair.Commit("a=1"), IsOk());
  pair.node().Kill();
  std::filesystem::remove_all(pair.node().directory() + "/node");
  ASSERT_THAT(pair.node().Launch(), IsOk());
  EXPECT_THAT(pair.node().WaitExit(), IsOkAndHolds(kConflict));
  EXPECT_THAT(
      pair.node().Log(),
      HasSubstr("tandem-node: the application is at height 2, this node has no "
                "blocks yet: give the node the data directory that belongs"));
  EXPECT_TRUE(pair.app().is_running());
}

// As a service manager may send it, that stops both.
TEST(PairTest, ASignalToANodeThatEndsAlreadyDoesNotHideWhy) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  ASSERT_THAT(pair.Commit("a=1"), IsOk());
  pair.node().Kill();
  for (int round = 0; round < 5; ++round) {
    std::filesystem::remove_all(pair.node().directory() + "/node");
    const std::size_t said = pair.node().Log().size();
    ASSERT_THAT(pair.node().Launch(), IsOk());
    ASSERT_TRUE(test::Eventually([&] {
      return pair.node().Log().find("cannot go on", said) != std::string::npos;
    }));
    EXPECT_THAT(pair.node().Terminate(), IsOkAndHolds(kConflict));
  }
}

TEST(PairTest, AnAppThatIsAheadEndsTheNode) {
  Pair one;
  Pair two;
  one.AllowOlderState();
  ASSERT_THAT(one.Start(), IsOk());
  ASSERT_THAT(two.Start(), IsOk());
  ASSERT_THAT(one.Commit("a=1"), IsOk());
  ASSERT_THAT(two.Commit("b=2"), IsOk());
  ASSERT_THAT(two.Commit("c=3"), IsOk());
  one.app().Kill();
  two.app().Kill();
  ASSERT_THAT(one.Await(AppStatus::AWAY), IsOk());
  const std::string data = one.app().directory() + "/app";
  std::filesystem::remove_all(data);
  std::filesystem::copy(two.app().directory() + "/app", data,
                        std::filesystem::copy_options::recursive);
  ASSERT_THAT(one.app().Start(), IsOk());
  EXPECT_THAT(one.node().WaitExit(), IsOkAndHolds(kConflict));
  EXPECT_THAT(one.node().Log(),
              HasSubstr("tandem-node: the application is ahead of the node: it "
                        "is at height 3, the node's last block is 2: give"));
  // Nothing was changed: with its own application it goes on.
  one.app().Kill();
  std::filesystem::remove_all(data);
  ASSERT_THAT(one.Start(), IsOk());
  EXPECT_THAT(one.Get("a"), IsOkAndHolds("1"));
}

TEST(PairTest, AnAppOfAnotherChainAtTheSameHeightEndsTheNode) {
  Pair one;
  Pair two;
  ASSERT_THAT(one.Start(), IsOk());
  ASSERT_THAT(two.Start(), IsOk());
  ASSERT_THAT(one.Commit("a=1"), IsOkAndHolds(2));
  // The app hash is the number of transactions.
  const auto reply = two.Submit({"b=2", "c=3"});
  ASSERT_THAT(reply, IsOk());
  ASSERT_EQ(reply->results(1).result().height(), 2);
  one.node().Kill();
  two.app().Kill();
  std::filesystem::remove_all(two.app().directory() + "/app");
  one.app().Kill();
  std::filesystem::copy(one.app().directory() + "/app",
                        two.app().directory() + "/app",
                        std::filesystem::copy_options::recursive);
  ASSERT_THAT(two.app().Start(), IsOk());
  EXPECT_THAT(two.node().WaitExit(), IsOkAndHolds(kConflict));
  EXPECT_THAT(two.node().Log(),
              AllOf(HasSubstr("the application is not that of this chain"),
                    HasSubstr("at height 2 its app hash is"),
                    HasSubstr("the chain's is")));
}

TEST(PairTest, ASubscriberMissesNothingAcrossARestartOfTheNode) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  std::int64_t next = 1;
  const auto read_until = [&](std::int64_t height) {
    while (next <= height) {
      node::v1::SubscribeRequest request;
      request.set_from_height(next);
      auto stream = pair.client().Subscribe(request);
      node::v1::CommittedBlock block;
      while (next <= height && stream.Read(&block)) {
        EXPECT_EQ(block.block().header().height(), next);
        ++next;
      }
    }
  };
  ASSERT_THAT(pair.Commit("a=1"), IsOk());
  read_until(2);
  ASSERT_THAT(pair.node().Restart(), IsOk());
  ASSERT_THAT(pair.Await(AppStatus::RUNNING), IsOk());
  ASSERT_THAT(pair.Commit("b=2"), IsOk());
  ASSERT_THAT(pair.Commit("c=3"), IsOk());
  read_until(4);
}

TEST(PairTest, ANodeThatIsAskedToStopExitsWellAndTakesItsSocketAlong) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  ASSERT_THAT(pair.Commit("a=1"), IsOk());
  auto stream = pair.client().Subscribe({});
  EXPECT_THAT(pair.node().Terminate(), IsOkAndHolds(0));
  EXPECT_FALSE(std::filesystem::exists(PathOf(pair.node())));
  node::v1::CommittedBlock block;
  EXPECT_FALSE(stream.Read(&block));
  EXPECT_EQ(pair.app().is_running(), true);
  ASSERT_THAT(pair.node().Start(), IsOk());
  ASSERT_THAT(pair.Await(AppStatus::RUNNING), IsOk());
  EXPECT_THAT(pair.Get("a"), IsOkAndHolds("1"));
}

TEST(PairTest, ANodeWithoutItsAppStopsAtOnceWhenAsked) {
  Pair pair;
  ASSERT_THAT(pair.node().Start(), IsOk());
  EXPECT_THAT(pair.node().Terminate(), IsOkAndHolds(0));
}

TEST(PairTest, AnAppThatHangsKeepsNoReaderWaiting) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  ASSERT_THAT(pair.Commit("a=1"), IsOk());
  ASSERT_THAT(pair.app().Suspend(), IsOk());
  EXPECT_THAT(pair.Status(), IsOk());
  node::v1::GetBlockRequest request;
  request.set_height(2);
  EXPECT_THAT(pair.client().GetBlock(request), IsOk());
  ASSERT_THAT(pair.app().Resume(), IsOk());
  EXPECT_THAT(pair.Commit("b=2"), IsOk());
}

TEST(PairTest, AnAppThatHangsWhenTheNodeStartsIsAskedAgain) {
  Pair pair;
  ASSERT_THAT(pair.app().Start(), IsOk());
  ASSERT_THAT(pair.app().Suspend(), IsOk());
  ASSERT_THAT(pair.node().Start(), IsOk());
  // To Info; over gRPC it is Hello that comes first.
  EXPECT_TRUE(test::Eventually([&pair] {
    const std::string log = pair.node().Log();
    return absl::StrContains(log, "no answer from") ||
           absl::StrContains(log, "did not answer Hello");
  }));
  ASSERT_THAT(pair.app().Resume(), IsOk());
  EXPECT_THAT(pair.Await(AppStatus::RUNNING), IsOk());
}

TEST(PairTest, WhoQueriesAnAppThatHangsIsToldThatItDoes) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  ASSERT_THAT(pair.app().Suspend(), IsOk());
  EXPECT_THAT(pair.client().Query({}, {.timeout = absl::Seconds(4)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr(pair.app().address())));
  ASSERT_THAT(pair.app().Resume(), IsOk());
  EXPECT_THAT(pair.client().Query({}), IsOk());
}

TEST(PairTest, TheCallInWhichAnAppHangsIsNamedAndItGoesOn) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  ASSERT_THAT(pair.Commit("a=1"), IsOk());
  EXPECT_EQ(pair.Status()->app().calls_size(), 0);
  ASSERT_THAT(pair.app().Suspend(), IsOk());
  const absl::Time before = absl::Now();
  absl::StatusOr<std::int64_t> height = absl::UnknownError("not committed");
  std::thread client([&] { height = pair.Commit("b=2"); });
  AppStatus app;
  while (app.calls_size() == 0 && absl::Now() < before + absl::Seconds(30)) {
    app = pair.Status().value_or(node::v1::StatusReply()).app();
  }
  const absl::Time after = absl::Now();
  EXPECT_THAT(pair.app().Resume(), IsOk());
  client.join();
  EXPECT_THAT(height, IsOkAndHolds(3));
  ASSERT_EQ(app.calls_size(), 1);
  EXPECT_EQ(app.calls(0).method(), "CheckTx");
  EXPECT_EQ(app.calls(0).count(), 1u);
  const absl::Time since = absl::FromUnixNanos(
      google::protobuf::util::TimeUtil::TimestampToNanoseconds(
          app.calls(0).since()));
  EXPECT_GE(since, before);
  EXPECT_LE(since, after);
  EXPECT_EQ(pair.Status()->app().calls_size(), 0);
}

// A node that must not start: its exit status, and what it says.
struct Refusal {
  int exit_status;
  std::string words;
};

Refusal Refused(std::vector<std::string> arguments) {
  rpc::testing::TempDir dir;
  arguments.insert(arguments.begin(), TANDEM_BIN_DIR "/tandem-node");
  const auto process = rpc::testing::Process::Start(
      {.command = arguments, .log_path = dir.File("log")});
  EXPECT_THAT(process, IsOk());
  const auto status = (*process)->Wait(absl::Seconds(30));
  EXPECT_THAT(status, IsOk());
  return {status.value_or(-1), rpc::ReadFile(dir.File("log")).value_or("")};
}

TEST(PairTest, ADataDirectoryOfAnotherProgramIsRefused) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  pair.app().Kill();
  rpc::testing::TempDir dir;
  const std::string data = pair.app().directory() + "/app";
  const Refusal refusal =
      Refused({"--listen", dir.Address("node.sock"), "--app",
               pair.app().address(), "--data", data});
  EXPECT_EQ(refusal.exit_status, 1);
  EXPECT_THAT(refusal.words, AllOf(HasSubstr(data), HasSubstr("--data")));
  ASSERT_THAT(pair.app().Start(), IsOk());
}

TEST(PairTest, ASecondNodeOnTheSameDataIsRefused) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  rpc::testing::TempDir dir;
  const Refusal refusal = Refused({"--listen", dir.Address("node.sock"),
                                   "--app", pair.app().address(), "--data",
                                   pair.node().directory() + "/node"});
  EXPECT_EQ(refusal.exit_status, 1);
  EXPECT_THAT(refusal.words, HasSubstr("in use by another process"));
  EXPECT_THAT(pair.Commit("a=1"), IsOk());
}

TEST(PairTest, ASecondNodeOnALivePathIsRefused) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  rpc::testing::TempDir dir;
  const Refusal refusal =
      Refused({"--listen", pair.node().address(), "--app", pair.app().address(),
               "--data", dir.File("data")});
  EXPECT_EQ(refusal.exit_status, 1);
  EXPECT_THAT(refusal.words, HasSubstr(PathOf(pair.node())));
  EXPECT_THAT(pair.Commit("a=1"), IsOk());
}

TEST(PairTest, ANodeThatMayNotListenLeavesItsAppAlone) {
  Pair pair;
  ASSERT_THAT(pair.Start(), IsOk());
  rpc::testing::ProcessPair app(
      {.server = {TANDEM_BIN_DIR "/tandem-kvstore", "--listen", "{socket}",
                  "--data", "{dir}/app"}});
  ASSERT_THAT(app.Start(), IsOk());
  rpc::testing::TempDir dir;
  const Refusal refusal = Refused({"--listen", pair.node().address(), "--app",
                                   app.address(), "--data", dir.File("data")});
  EXPECT_EQ(refusal.exit_status, 1);
  const auto info = tendermint::abci::ABCIClient(app.channel()).Info({});
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->last_block_height(), 0);
}

TEST(PairTest, ASocketPathThatIsAFileIsRefusedUntouched) {
  rpc::testing::TempDir dir;
  std::ofstream(dir.File("node.sock")) << "precious";
  const Refusal refusal =
      Refused({"--listen", dir.Address("node.sock"), "--app",
               dir.Address("app.sock"), "--data", dir.File("data")});
  EXPECT_EQ(refusal.exit_status, 1);
  EXPECT_THAT(refusal.words, HasSubstr(dir.File("node.sock")));
  EXPECT_THAT(rpc::ReadFile(dir.File("node.sock")), IsOkAndHolds("precious"));
}

TEST(PairTest, WrongArgumentsAreExplained) {
  rpc::testing::TempDir dir;
  const Refusal address = Refused({"--listen", "tcp://127.0.0.1:1"});
  EXPECT_EQ(address.exit_status, 2);
  EXPECT_THAT(address.words, HasSubstr("tcp://127.0.0.1:1"));
  const Refusal mode =
      Refused({"--listen", dir.Address("n.sock"), "--mode", "rw-rw----"});
  EXPECT_EQ(mode.exit_status, 2);
  EXPECT_THAT(mode.words, HasSubstr("rw-rw----"));
  const Refusal genesis = Refused(
      {"--listen", dir.Address("n.sock"), "--app", dir.Address("a.sock"),
       "--data", dir.File("data"), "--genesis", dir.File("missing")});
  EXPECT_EQ(genesis.exit_status, 1);
  EXPECT_THAT(genesis.words, HasSubstr(dir.File("missing")));
}

}  // namespace
}  // namespace tandem

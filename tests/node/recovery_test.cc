#include "node/recovery.h"

#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "tests/node/golden.h"
#include "tests/node/world.h"

namespace tandem::node {
namespace {

using rpc::testing::IsOk;
using rpc::testing::IsOkAndHolds;
using rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace abci = tendermint::abci;

class RecoveryTest : public ::testing::Test {
 protected:
  // A chain of blocks 1 (empty), 2 ("a") and 3 ("b").
  void SetUp() override {
    world_.StartChain();
    world_.Commit({"a"});
    world_.Commit({"b"});
    world_.app.ClearTrace();
  }

  absl::Status RestartNode() {
    world_.Open();
    world_.Connect();
    return world_.Recover();
  }

  // What an application answers is refused; a restart of it may help.
  void ExpectRefusal(const std::string& why) {
    EXPECT_THAT(RestartNode(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr(why)));
  }

  // Its state does not belong to this node; no restart helps.
  void ExpectConflict(const std::string& why) {
    EXPECT_THAT(RestartNode(),
                StatusIs(absl::StatusCode::kAborted, HasSubstr(why)));
  }

  World world_;
};

TEST_F(RecoveryTest, InStepNothingIsReplayed) {
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_THAT(world_.app.Trace(), ElementsAre("Info"));
}

TEST_F(RecoveryTest, AnEmptyApplicationIsGivenTheWholeChain) {
  world_.app.Wipe();
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_THAT(world_.app.Trace(),
              ElementsAre("Info", "InitChain golden", "FinalizeBlock 1",
                          "Commit", "FinalizeBlock 2 a", "Commit",
                          "FinalizeBlock 3 b", "Commit"));
  EXPECT_EQ(world_.app.app_hash(), world_.executor->state().app_hash());
}

TEST_F(RecoveryTest, InitChainsAnswerIsIgnoredOnceThereAreBlocks) {
  world_.app.Wipe();
  world_.app.hooks.init_chain = [](abci::ResponseInitChain& answer) {
    answer.set_app_hash("another");
    answer.mutable_consensus_params()->mutable_block()->set_max_bytes(-7);
  };
  const std::string before = world_.executor->state().SerializeAsString();
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_EQ(world_.executor->state().SerializeAsString(), before);
}

TEST_F(RecoveryTest, AnApplicationThatIsBehindIsGivenTheRest) {
  world_.app.Wipe();
  world_.Open();
  world_.Connect();
  world_.app.FailBefore("Commit", kLost);  // It takes block 1, and no more.
  EXPECT_THAT(world_.Recover(), StatusIs(absl::StatusCode::kUnavailable));
  // A FinalizeBlock without Commit is done again.
  world_.app.ClearTrace();
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b"));

  world_.Commit({"c"});
  world_.app.ClearTrace();
  world_.app.Wipe();
  world_.app.FailAfter("Commit", kLost);  // Block 1 is committed.
  EXPECT_THAT(RestartNode(), StatusIs(absl::StatusCode::kUnavailable));
  world_.app.ClearTrace();
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_THAT(
      world_.app.Trace(),
      ElementsAre("Info", "FinalizeBlock 2 a", "Commit", "FinalizeBlock 3 b",
                  "Commit", "FinalizeBlock 4 c", "Commit"));
}

TEST_F(RecoveryTest, ReplayFromAHighInitialHeightBeginsThere) {
  World world;
  world.genesis.initial_height = 50;
  world.StartChain();
  world.Commit({"a"});
  world.app.Wipe();
  world.app.ClearTrace();
  world.Open();
  world.Connect();
  ASSERT_THAT(world.Recover(), IsOk());
  EXPECT_THAT(world.app.Trace(),
              ElementsAre("Info", "InitChain golden", "FinalizeBlock 50",
                          "Commit", "FinalizeBlock 51 a", "Commit"));
}

// Each durable step, with the node's or the connection's death right after it.
struct Crash {
  const char* name;
  const char* call;
  bool after;  // the application did what it was told, and the answer is lost
  std::vector<std::string> expected;  // of recovery, after Info
};

class CrashTest : public RecoveryTest,
                  public ::testing::WithParamInterface<Crash> {
 protected:
  void BreakOff() {
    outcomes_ = world_.Submit({"c"});
    if (GetParam().after) {
      world_.app.FailAfter(GetParam().call, kLost);
    } else {
      world_.app.FailBefore(GetParam().call, kLost);
    }
    ASSERT_THAT(world_.MakeBlock(), StatusIs(absl::StatusCode::kUnavailable));
    world_.app.ClearTrace();
  }

  // The block was saved before it broke off, so it is brought to its end.
  bool IsSaved() const { return !GetParam().expected.empty(); }

  void ExpectRecovered() {
    std::vector<std::string> expected = {"Info"};
    expected.insert(expected.end(), GetParam().expected.begin(),
                    GetParam().expected.end());
    EXPECT_EQ(world_.app.Trace(), expected);
    if (IsSaved()) {
      EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b", "c"));
    } else {
      EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b"));
    }
    EXPECT_EQ(world_.app.height(), world_.executor->state().height());
    EXPECT_EQ(world_.app.app_hash(), world_.executor->state().app_hash());
    EXPECT_THAT(world_.store->LastHeight(), IsOkAndHolds(world_.app.height()));
  }

  void ExpectGoingOn() {
    ASSERT_THAT(world_.MakeBlock(), IsOk());
    world_.Commit({"d"});
    EXPECT_EQ(world_.app.txs().back(), "d");
  }

  std::shared_ptr<Outcomes> outcomes_;
};

TEST_P(CrashTest, TheNodeRestartsAndTheApplicationLives) {
  BreakOff();
  ASSERT_THAT(RestartNode(), IsOk());
  ExpectRecovered();
  ExpectGoingOn();
}

TEST_P(CrashTest, BothRestart) {
  BreakOff();
  world_.app.Restart();
  ASSERT_THAT(RestartNode(), IsOk());
  ExpectRecovered();
  ExpectGoingOn();
}

TEST_P(CrashTest, TheApplicationRestartsAndTheNodeLives) {
  BreakOff();
  world_.app.Restart();
  world_.Connect();
  ASSERT_THAT(world_.Recover(), IsOk());
  if (IsSaved()) {
    EXPECT_THAT(outcomes_->All(), ElementsAre("0 checked 0", "0 committed 4"));
  } else {
    ASSERT_THAT(world_.MakeBlock(), IsOk());
  }
  // It was accepted, so it is committed, once.
  EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b", "c"));
  ExpectGoingOn();
}

TEST_P(CrashTest, TheApplicationIsWipedAndTheNodeRestarts) {
  BreakOff();
  world_.app.Wipe();
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_EQ(world_.app.app_hash(), world_.executor->state().app_hash());
  EXPECT_EQ(world_.app.height(), IsSaved() ? 4 : 3);
  ExpectGoingOn();
}

INSTANTIATE_TEST_SUITE_P(
    EveryStep, CrashTest,
    ::testing::Values(
        Crash{"BeforeTheBlockIsSaved", "ProcessProposal", false, {}},
        Crash{"AfterTheBlockIsSaved",
              "FinalizeBlock",
              false,
              {"FinalizeBlock 4 c", "Commit"}},
        Crash{"BeforeTheResponseIsSaved",
              "FinalizeBlock",
              true,
              {"FinalizeBlock 4 c", "Commit"}},
        Crash{"AfterTheResponseIsSaved",
              "Commit",
              false,
              {"FinalizeBlock 4 c", "Commit"}}),
    [](const auto& crash) { return crash.param.name; });

// The application has committed, and the node does not know: the saved response
// is used, and the application is not shown the block again.
TEST_F(RecoveryTest, ACommitWhoseAnswerWasLostIsNotDoneTwice) {
  world_.Submit({"c"});
  world_.app.FailAfter("Commit", kLost);
  ASSERT_THAT(world_.MakeBlock(), StatusIs(absl::StatusCode::kUnavailable));
  world_.app.ClearTrace();
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_THAT(world_.app.Trace(), ElementsAre("Info"));
  EXPECT_EQ(world_.executor->state().height(), 4);
  EXPECT_EQ(world_.executor->state().app_hash(), world_.app.app_hash());
  world_.Commit({"d"});
  EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b", "c", "d"));
}

TEST_F(RecoveryTest, ALostBlockAndAnApplicationFarBehindAreBothRepaired) {
  world_.Submit({"c"});
  world_.app.FailBefore("FinalizeBlock", kLost);
  ASSERT_THAT(world_.MakeBlock(), StatusIs(absl::StatusCode::kUnavailable));
  world_.app.Wipe();
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b", "c"));
}

TEST_F(RecoveryTest, AFirstBlockThatWasNotFinishedIsAppliedAfterInitChain) {
  World world;
  world.Open();
  world.Connect();
  ASSERT_THAT(world.Recover(), IsOk());
  world.app.FailBefore("Commit", kLost);
  ASSERT_THAT(world.MakeBlock(), StatusIs(absl::StatusCode::kUnavailable));
  world.app.ClearTrace();
  world.Open();
  world.Connect();
  ASSERT_THAT(world.Recover(), IsOk());
  EXPECT_THAT(world.app.Trace(), ElementsAre("Info", "InitChain golden",
                                             "FinalizeBlock 1", "Commit"));
}

TEST_F(RecoveryTest, AnInitChainThatAnswersDifferentlyIsRefused) {
  World world;
  world.Open();
  world.Connect();
  ASSERT_THAT(world.Recover(), IsOk());
  world.app.FailBefore("FinalizeBlock", kLost);
  ASSERT_THAT(world.MakeBlock(), StatusIs(absl::StatusCode::kUnavailable));
  world.app.hooks.init_chain = [](abci::ResponseInitChain& answer) {
    answer.set_app_hash("another");
  };
  world.Open();
  world.Connect();
  EXPECT_THAT(world.Recover(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr("does not follow")));
}

TEST_F(RecoveryTest, AnApplicationThatIsAheadIsRefused) {
  world_.app.hooks.info = [](abci::ResponseInfo& info) {
    info.set_last_block_height(9);
  };
  ExpectConflict(
      "ahead of the node: it is at height 9, the node's last block "
      "is 3");
  EXPECT_THAT(world_.app.Trace(), ElementsAre("Info", "Info"));
}

TEST_F(RecoveryTest, AnApplicationWithBlocksIsRefusedByAnEmptyNode) {
  World world;
  world.app.hooks.info = [](abci::ResponseInfo& info) {
    info.set_last_block_height(3);
  };
  world.Open();
  world.Connect();
  EXPECT_THAT(world.Recover(), StatusIs(absl::StatusCode::kAborted,
                                        HasSubstr("has no blocks yet")));
}

TEST_F(RecoveryTest, ANegativeHeightIsRefused) {
  world_.app.hooks.info = [](abci::ResponseInfo& info) {
    info.set_last_block_height(-1);
  };
  ExpectRefusal("at height -1");
}

TEST_F(RecoveryTest, AnotherChainsApplicationIsRefusedAtTheSameHeight) {
  world_.app.hooks.info = [](abci::ResponseInfo& info) {
    info.set_last_block_app_hash("other");
  };
  ExpectConflict("not that of this chain (golden)");
}

TEST_F(RecoveryTest, AnotherChainsApplicationIsRefusedAtALowerHeight) {
  world_.app.hooks.info = [](abci::ResponseInfo& info) {
    info.set_last_block_height(2);
    info.set_last_block_app_hash("other");
  };
  ExpectConflict("not that of this chain (golden)");
  EXPECT_THAT(world_.app.Trace(), ElementsAre("Info", "Info"));
}

TEST_F(RecoveryTest, AnotherChainsApplicationIsRefusedAfterALostCommit) {
  world_.Submit({"c"});
  world_.app.FailAfter("Commit", kLost);
  ASSERT_THAT(world_.MakeBlock(), StatusIs(absl::StatusCode::kUnavailable));
  world_.app.hooks.info = [](abci::ResponseInfo& info) {
    info.set_last_block_app_hash("other");
  };
  ExpectConflict("not that of this chain (golden)");
}

// As the reference kvstore of CometBFT does, when it outlives its node.
TEST_F(RecoveryTest, AnApplicationThatShowsUncommittedStateIsFoundOut) {
  world_.Submit({"c"});
  world_.app.FailAfter("FinalizeBlock", kLost);
  ASSERT_THAT(world_.MakeBlock(), StatusIs(absl::StatusCode::kUnavailable));
  world_.app.hooks.info = [](abci::ResponseInfo& info) {
    info.set_last_block_height(4);
  };
  ExpectRefusal("restart the application");
}

TEST_F(RecoveryTest, AReplayThatAnswersDifferentlyIsRefused) {
  world_.app.Wipe();
  world_.app.hooks.finalize = [](abci::ResponseFinalizeBlock& answer) {
    if (answer.tx_results_size() > 0) answer.set_app_hash("other");
  };
  EXPECT_THAT(RestartNode(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("differently for block 2"),
                             HasSubstr("restart the application"))));
  EXPECT_EQ(world_.app.height(), 1);  // What was wrong is not committed.
}

TEST_F(RecoveryTest, AnUnfinishedBlockThatIsAnsweredDifferentlyIsRefused) {
  world_.Submit({"c"});
  world_.app.FailBefore("Commit", kLost);
  ASSERT_THAT(world_.MakeBlock(), StatusIs(absl::StatusCode::kUnavailable));
  world_.app.hooks.finalize = [](abci::ResponseFinalizeBlock& answer) {
    answer.mutable_tx_results(0)->set_code(32);
  };
  ExpectRefusal("differently for block 4");
  EXPECT_EQ(world_.executor->state().height(), 3);
  EXPECT_EQ(world_.app.height(), 3);
}

TEST_F(RecoveryTest, AReplayMayTellOtherEventsAndLogs) {
  world_.app.Wipe();
  world_.app.hooks.finalize = [](abci::ResponseFinalizeBlock& answer) {
    answer.add_events()->set_type("replayed");
    for (auto& result : *answer.mutable_tx_results()) result.set_log("again");
  };
  EXPECT_THAT(RestartNode(), IsOk());
  EXPECT_EQ(world_.app.height(), 3);
}

TEST_F(RecoveryTest, ARestartedNodeKnowsWhatWasCommittedAndWhatFailed) {
  world_.app.hooks.finalize = [](abci::ResponseFinalizeBlock& answer) {
    answer.mutable_tx_results(1)->set_code(5);
  };
  world_.Commit({"c", "failed", "d"});
  world_.app.hooks.finalize = nullptr;
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_THAT(world_.Submit({"a", "b", "c", "d", "failed", "new"})->All(),
              ElementsAre("0 ALREADY_EXISTS", "1 ALREADY_EXISTS",
                          "2 ALREADY_EXISTS", "3 ALREADY_EXISTS",
                          "4 checked 0", "5 checked 0"));
}

TEST_F(RecoveryTest, OfManyCommittedARestartedNodeKnowsTheLast) {
  world_.limits.cache_size = 3;
  world_.Commit({"c", "d"});
  world_.Commit({"e", "f"});
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_THAT(world_.Submit({"f", "e", "d", "c"})->All(),
              ElementsAre("0 ALREADY_EXISTS", "1 ALREADY_EXISTS",
                          "2 ALREADY_EXISTS", "3 checked 0"));
}

TEST_F(RecoveryTest, AnApplicationOlderThanTheOldestBlockIsRefused) {
  world_.app.hooks.commit = [](abci::ResponseCommit& answer) {
    answer.set_retain_height(4);
  };
  world_.Commit({"c"});
  world_.app.hooks.commit = nullptr;
  world_.app.hooks.info = [](abci::ResponseInfo& info) {
    info.set_last_block_height(2);
  };
  ExpectConflict("needs block 3; the oldest that this node keeps is 4");
  world_.app.hooks.info = nullptr;
  world_.app.Wipe();
  ExpectConflict("needs block 1; the oldest that this node keeps is 4");
}

TEST_F(RecoveryTest, AnApplicationJustBeforeTheOldestBlockIsReplayed) {
  world_.app.hooks.commit = [](abci::ResponseCommit& answer) {
    answer.set_retain_height(4);
  };
  world_.app.FailBefore("Commit", kLost);
  world_.Submit({"c"});
  ASSERT_THAT(world_.MakeBlock(), StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_EQ(world_.executor->tip().base_height, 4);
  ASSERT_THAT(RestartNode(), IsOk());
}

TEST_F(RecoveryTest, AStoreWithoutTheBlocksOfItsStateIsBroken) {
  store::ChainState state = world_.executor->state();
  state.set_height(7);
  ASSERT_THAT(world_.store->SaveState(state, 1), IsOk());
  EXPECT_THAT(RestartNode(), StatusIs(absl::StatusCode::kDataLoss));
  state.set_height(1);
  ASSERT_THAT(world_.store->SaveState(state, 1), IsOk());
  EXPECT_THAT(RestartNode(), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(RecoveryTest, ACommittedBlockWithoutItsResponseIsABrokenStore) {
  world_.Submit({"c"});
  world_.app.FailBefore("FinalizeBlock", kLost);
  ASSERT_THAT(world_.MakeBlock(), StatusIs(absl::StatusCode::kUnavailable));
  store::ChainState state = world_.executor->state();
  state.set_height(4);
  ASSERT_THAT(world_.store->SaveState(state, 1), IsOk());
  world_.app.Wipe();
  EXPECT_THAT(RestartNode(), StatusIs(absl::StatusCode::kDataLoss,
                                      HasSubstr("committed block 4")));
}

// A node was killed while the application committed, and the next one asked
// Info before that was done.
TEST_F(RecoveryTest, ACommitThatEndsDuringRecoveryIsNoticed) {
  world_.Submit({"c"});
  world_.app.FailAfter("Commit", kLost);
  ASSERT_THAT(world_.MakeBlock(), StatusIs(absl::StatusCode::kUnavailable));
  world_.app.hooks.info = [hash = world_.executor->state().app_hash(),
                           is_first = true](abci::ResponseInfo& info) mutable {
    if (!std::exchange(is_first, false)) return;
    info.set_last_block_height(3);
    info.set_last_block_app_hash(hash);
  };
  world_.app.ClearTrace();
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_THAT(world_.app.Trace(),
              ElementsAre("Info", "FinalizeBlock 4 c", "Info"));
  world_.Commit({"d"});
  EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b", "c", "d"));
}

// The same, where the state of before the Commit does not fit at all.
TEST_F(RecoveryTest, AConflictIsLookedAtTwiceWhileACommitMayEnd) {
  world_.app.hooks.info = [is_first = true](abci::ResponseInfo& info) mutable {
    if (!std::exchange(is_first, false)) return;
    info.set_last_block_height(2);
    info.set_last_block_app_hash("half done");
  };
  ASSERT_THAT(RestartNode(), IsOk());
  EXPECT_THAT(world_.app.Trace(), ElementsAre("Info", "Info"));
}

TEST_F(RecoveryTest, AnInfoThatFailsIsNamed) {
  world_.app.FailBefore("Info", absl::UnimplementedError("what?"));
  EXPECT_THAT(RestartNode(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("Info failed: what? (UNIMPLEMENTED)")));
}

}  // namespace
}  // namespace tandem::node

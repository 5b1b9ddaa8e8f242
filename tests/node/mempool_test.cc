#include "node/mempool.h"

#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "tests/node/world.h"

namespace tandem::node {
namespace {

using rpc::testing::IsOk;
using rpc::testing::StatusIs;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace abci = tendermint::abci;

class MempoolTest : public ::testing::Test {
 protected:
  void Refused(const std::string& tx, absl::StatusCode code,
               const std::string& why) {
    const auto outcomes = world_.Submit({tx});
    EXPECT_THAT(outcomes->Refusal(0), StatusIs(code, HasSubstr(why)));
  }

  World world_;
};

TEST_F(MempoolTest, AnEmptyTransactionIsRefused) {
  world_.StartChain();
  Refused("", absl::StatusCode::kInvalidArgument, "empty");
}

TEST_F(MempoolTest, ATransactionAboveTheNodesLimitIsRefused) {
  world_.limits.max_transaction_bytes = 10;
  world_.StartChain();
  EXPECT_THAT(world_.Submit({"0123456789"})->All(), ElementsAre("0 checked 0"));
  Refused("0123456789a", absl::StatusCode::kInvalidArgument,
          "11 bytes, the node takes 10");
}

TEST_F(MempoolTest, ATransactionThatFitsNoBlockIsRefused) {
  world_.genesis.params.mutable_block()->set_max_bytes(2000);
  world_.genesis.params.mutable_evidence()->set_max_bytes(0);
  world_.StartChain();
  EXPECT_THAT(world_.Submit({std::string(1155, 'x')})->All(),
              ElementsAre("0 checked 0"));
  Refused(std::string(1156, 'x'), absl::StatusCode::kInvalidArgument,
          "a block holds 1158");
}

TEST_F(MempoolTest, ABlockIsOfferedNoMoreThanItHolds) {
  world_.genesis.params.mutable_block()->set_max_bytes(2000);
  world_.genesis.params.mutable_evidence()->set_max_bytes(0);
  world_.StartChain();
  const std::string a(800, 'a');
  const std::string b(800, 'b');
  world_.Submit({a, b});
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(world_.app.txs(), ElementsAre(a));
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(world_.app.txs(), ElementsAre(a, b));
}

TEST_F(MempoolTest, ACheckThatTakesTooLongIsNoCommitThatDoes) {
  world_.StartChain();
  world_.app.FailBefore("CheckTx", absl::DeadlineExceededError("slow"));
  Refused("a", absl::StatusCode::kUnavailable, "slow");
}

TEST_F(MempoolTest, ATransactionThatWantsMoreGasThanABlockHasIsRefused) {
  world_.genesis.params.mutable_block()->set_max_gas(5);
  world_.StartChain();
  world_.app.hooks.check_tx = [](const abci::RequestCheckTx&,
                                 abci::ResponseCheckTx& answer) {
    answer.set_gas_wanted(6);
  };
  Refused("a", absl::StatusCode::kInvalidArgument, "wants 6 gas");
  world_.app.hooks.check_tx = [](const abci::RequestCheckTx&,
                                 abci::ResponseCheckTx& answer) {
    answer.set_gas_wanted(-1);
  };
  Refused("a", absl::StatusCode::kInvalidArgument, "wants -1 gas");
  EXPECT_EQ(world_.mempool->GetStatus().transactions(), 0u);
}

TEST_F(MempoolTest, ADuplicateIsRefusedWhileItWaits) {
  world_.StartChain();
  const auto outcomes = world_.Submit({"a", "a", "b"});
  EXPECT_THAT(outcomes->Refusal(1),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("mempool")));
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b"));
}

TEST_F(MempoolTest, ADuplicateIsRefusedAfterItsCommit) {
  world_.StartChain();
  world_.Commit({"a"});
  Refused("a", absl::StatusCode::kAlreadyExists, "committed already");
}

TEST_F(MempoolTest, ADuplicateIsRefusedAfterARestartToo) {
  world_.limits.cache_size = 3;
  world_.StartChain();
  world_.Commit({"a", "b"});
  world_.Commit({"c", "d"});
  world_.Open();
  world_.Connect();
  ASSERT_THAT(world_.Recover(), IsOk());
  Refused("b", absl::StatusCode::kAlreadyExists, "committed already");
  Refused("d", absl::StatusCode::kAlreadyExists, "committed already");
  EXPECT_THAT(world_.Submit({"a"})->All(), ElementsAre("0 checked 0"));
  // The one that is forgotten next is the oldest.
  world_.Commit({"e"});
  EXPECT_THAT(world_.Submit({"b"})->All(), ElementsAre("0 checked 0"));
}

TEST_F(MempoolTest, TheOldestCommittedAreForgottenFirst) {
  world_.limits.cache_size = 2;
  world_.StartChain();
  world_.Commit({"a"});
  world_.Commit({"b"});
  world_.Commit({"c"});
  Refused("b", absl::StatusCode::kAlreadyExists, "committed");
  EXPECT_THAT(world_.Submit({"a"})->All(), ElementsAre("0 checked 0"));
}

TEST_F(MempoolTest, ATransactionThatFailedInABlockMayComeAgain) {
  world_.StartChain();
  world_.app.hooks.finalize = [](abci::ResponseFinalizeBlock& answer) {
    answer.mutable_tx_results(0)->set_code(5);
  };
  world_.Commit({"a"});
  EXPECT_THAT(world_.Submit({"a"})->All(), ElementsAre("0 checked 0"));
}

TEST_F(MempoolTest, ARefusedTransactionMayComeAgain) {
  world_.StartChain();
  world_.app.hooks.check_tx = [](const abci::RequestCheckTx&,
                                 abci::ResponseCheckTx& answer) {
    answer.set_code(2);
  };
  EXPECT_THAT(world_.Submit({"a"})->All(), ElementsAre("0 checked 2"));
  EXPECT_EQ(world_.mempool->GetStatus().transactions(), 0u);
  EXPECT_EQ(world_.mempool->GetStatus().bytes(), 0u);
  world_.app.hooks.check_tx = nullptr;
  EXPECT_THAT(world_.Submit({"a"})->All(), ElementsAre("0 checked 0"));
}

TEST_F(MempoolTest, AFullPoolSaysSo) {
  world_.limits.max_transactions = 2;
  world_.StartChain();
  const auto outcomes = world_.Submit({"a", "b", "c"});
  EXPECT_THAT(outcomes->Refusal(2),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("full: 2 transactions")));
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(world_.Submit({"c"})->All(), ElementsAre("0 checked 0"));
}

TEST_F(MempoolTest, BytesAreLimitedToo) {
  world_.limits.max_bytes = 5;
  world_.StartChain();
  EXPECT_THAT(world_.Submit({"abc"})->All(), ElementsAre("0 checked 0"));
  Refused("def", absl::StatusCode::kResourceExhausted, "3 bytes");
  EXPECT_THAT(world_.Submit({"gh"})->All(), ElementsAre("0 checked 0"));
}

TEST_F(MempoolTest, BlocksTakeTransactionsInTheOrderTheyCame) {
  world_.StartChain();
  std::vector<std::string> txs;
  for (int i = 0; i < 1000; ++i) txs.push_back(absl::StrCat("tx", i));
  world_.Submit(txs);
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_EQ(world_.app.txs(), txs);
}

TEST_F(MempoolTest, OneCheckAtATimeKeepsTheirOrder) {
  world_.limits.checks_in_flight = 1;
  world_.StartChain();
  std::vector<std::string> txs;
  std::vector<std::string> checks;
  for (int i = 0; i < 300; ++i) {
    txs.push_back(absl::StrCat("tx", i));
    checks.push_back(absl::StrCat("CheckTx tx", i));
  }
  world_.app.ClearTrace();
  world_.Submit(txs);
  EXPECT_EQ(world_.app.Trace(), checks);
}

TEST_F(MempoolTest, WhatIsNotInABlockIsCheckedAgain) {
  world_.genesis.params.mutable_block()->set_max_gas(1);
  world_.StartChain();
  world_.app.ClearTrace();
  const auto outcomes = world_.Submit({"a", "b"});
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(world_.app.Trace(), Contains("ReCheckTx b"));
  EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b"));
  EXPECT_THAT(outcomes->All(), Contains("1 committed 3"));
}

TEST_F(MempoolTest, WhatIsRefusedWhenCheckedAgainIsDroppedWithTheReason) {
  world_.genesis.params.mutable_block()->set_max_gas(1);
  world_.StartChain();
  const auto outcomes = world_.Submit({"a", "b"});
  world_.app.hooks.check_tx = [](const abci::RequestCheckTx&,
                                 abci::ResponseCheckTx& answer) {
    answer.set_code(9);
    answer.set_log("too late");
  };
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  ASSERT_TRUE(outcomes->AwaitChecked(3));
  EXPECT_THAT(outcomes->Refusal(1),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("9 too late")));
  EXPECT_EQ(world_.mempool->GetStatus().transactions(), 0u);
}

// CometBFT would offer it again for ever.
TEST_F(MempoolTest, WhatTheApplicationRewritesIsOfferedOnce) {
  world_.StartChain();
  world_.app.hooks.prepare = [](abci::ResponsePrepareProposal& answer) {
    for (auto& tx : *answer.mutable_txs()) tx += "'";
  };
  const auto outcomes = world_.Submit({"a"});
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(outcomes->Refusal(0),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("in block 2")));
  EXPECT_THAT(world_.app.txs(), ElementsAre("a'"));
  EXPECT_FALSE(world_.mempool->has_ready());
}

TEST_F(MempoolTest, WhatIsRewrittenBesideOthersIsOfferedOnce) {
  world_.StartChain();
  world_.app.hooks.prepare = [](abci::ResponsePrepareProposal& answer) {
    for (auto& tx : *answer.mutable_txs()) {
      if (tx == "a:1") tx = "a=1";
    }
  };
  const auto outcomes = world_.Submit({"a:1", "b"});
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(outcomes->Refusal(0),
              StatusIs(absl::StatusCode::kAborted,
                       HasSubstr("in another form in block 2")));
  EXPECT_THAT(outcomes->All(), Contains("1 committed 2"));
  world_.Commit({"c"});
  EXPECT_THAT(world_.app.txs(), ElementsAre("a=1", "b", "c"));
}

TEST_F(MempoolTest, WhatFoundNoRoomBesideARewrittenOneStays) {
  world_.StartChain();
  world_.app.hooks.prepare = [](abci::ResponsePrepareProposal& answer) {
    if (answer.txs(0) == "a:1") {
      answer.clear_txs();
      *answer.add_txs() = "a=1";
      *answer.add_txs() = "b";
    }
  };
  const auto outcomes = world_.Submit({"a:1", "b", "c", "d"});
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(outcomes->Refusal(0), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(world_.app.txs(), ElementsAre("a=1", "b", "c", "d"));
}

TEST_F(MempoolTest, NoCodeOfTheApplicationsPassesForOneOfOurs) {
  world_.StartChain();
  const std::pair<absl::StatusCode, absl::StatusCode> cases[] = {
      {absl::StatusCode::kCancelled, absl::StatusCode::kUnavailable},
      {absl::StatusCode::kResourceExhausted, absl::StatusCode::kUnavailable},
      {absl::StatusCode::kAlreadyExists, absl::StatusCode::kInternal},
      {absl::StatusCode::kUnknown, absl::StatusCode::kInternal},
      {absl::StatusCode::kFailedPrecondition, absl::StatusCode::kInternal},
  };
  for (const auto& [theirs, ours] : cases) {
    world_.app.FailBefore("CheckTx", absl::Status(theirs, "their words"));
    Refused("a", ours, "their words");
  }
}

TEST_F(MempoolTest, WhatFitsNoBlockAnyMoreIsDropped) {
  world_.genesis.params.mutable_block()->set_max_gas(1);
  world_.StartChain();
  const auto outcomes = world_.Submit({"a", std::string(1156, 'x')});
  world_.app.hooks.finalize = [this](abci::ResponseFinalizeBlock& answer) {
    auto& params = *answer.mutable_consensus_param_updates();
    *params.mutable_block() = world_.genesis.params.block();
    params.mutable_block()->set_max_bytes(2000);
    *params.mutable_evidence() = world_.genesis.params.evidence();
    params.mutable_evidence()->set_max_bytes(0);
  };
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  ASSERT_TRUE(outcomes->AwaitChecked(3));
  EXPECT_THAT(outcomes->Refusal(1), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("a block holds 1158")));
  EXPECT_FALSE(world_.mempool->has_ready());
}

TEST_F(MempoolTest, GasWithoutALimitIsNotSummedUp) {
  world_.genesis.params.mutable_block()->set_max_gas(-1);
  world_.StartChain();
  world_.app.hooks.check_tx = [](const abci::RequestCheckTx&,
                                 abci::ResponseCheckTx& answer) {
    answer.set_gas_wanted(std::numeric_limits<std::int64_t>::max());
  };
  world_.Commit({"a", "b"});
  EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b"));
}

TEST_F(MempoolTest, WhatTheApplicationPutsOffIsOfferedAgain) {
  world_.StartChain();
  world_.app.hooks.prepare = [](abci::ResponsePrepareProposal& answer) {
    if (answer.txs_size() > 1) answer.mutable_txs()->DeleteSubrange(1, 1);
  };
  world_.Submit({"a", "b"});
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b"));
}

TEST_F(MempoolTest, WithoutAnApplicationTheReasonIsTold) {
  world_.StartChain();
  world_.mempool->Detach(absl::UnavailableError("gone fishing"));
  Refused("a", absl::StatusCode::kUnavailable, "gone fishing");
}

TEST_F(MempoolTest, AcceptedTransactionsOutliveTheConnection) {
  world_.StartChain();
  const auto outcomes = world_.Submit({"a"});
  world_.Connect();
  ASSERT_THAT(world_.Recover(), IsOk());
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(outcomes->All(), ElementsAre("0 checked 0", "0 committed 2"));
  EXPECT_THAT(world_.app.Trace(), Contains("ReCheckTx a"));
}

TEST_F(MempoolTest, ACheckThatTheConnectionTookAlongIsRefused) {
  world_.StartChain();
  world_.app.FailBefore("CheckTx", absl::UnavailableError("broke"));
  Refused("a", absl::StatusCode::kUnavailable, "broke");
  EXPECT_EQ(world_.mempool->GetStatus().transactions(), 0u);
}

TEST_F(MempoolTest, ARecheckThatTheConnectionTookAlongIsDoneOnTheNext) {
  world_.genesis.params.mutable_block()->set_max_gas(1);
  world_.StartChain();
  const auto outcomes = world_.Submit({"a", "b"});
  world_.app.FailBefore("ReCheckTx", absl::UnavailableError("broke"));
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  world_.Connect();
  ASSERT_THAT(world_.Recover(), IsOk());
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b"));
}

TEST_F(MempoolTest, ARecheckThatFindsTheApplicationOverloadedDropsNothing) {
  world_.genesis.params.mutable_block()->set_max_gas(1);
  world_.StartChain();
  const auto outcomes = world_.Submit({"a", "b"});
  for (const absl::Status& answer :
       {absl::ResourceExhaustedError("busy"), absl::UnavailableError("busy")}) {
    world_.app.FailBefore("ReCheckTx", answer);
    ASSERT_THAT(world_.MakeBlock(), IsOk());
  }
  EXPECT_THAT(world_.app.txs(), ElementsAre("a", "b"));
}

TEST_F(MempoolTest, NoCheckIsInFlightWhileABlockIsExecuted) {
  world_.StartChain();
  world_.Submit({"a"});
  std::shared_ptr<Outcomes> meanwhile = std::make_shared<Outcomes>();
  world_.app.hooks.finalize = [&](abci::ResponseFinalizeBlock&) {
    google::protobuf::RepeatedPtrField<std::string> txs;
    *txs.Add() = "b";
    world_.mempool->Submit(std::move(txs), meanwhile);
    EXPECT_THAT(meanwhile->All(), IsEmpty());
  };
  world_.app.ClearTrace();
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  ASSERT_TRUE(meanwhile->AwaitChecked(1));
  EXPECT_THAT(world_.app.Trace(),
              ElementsAre("PrepareProposal 2", "ProcessProposal 2",
                          "FinalizeBlock 2 a", "Commit", "CheckTx b"));
}

TEST_F(MempoolTest, StatusCountsWhatWaits) {
  world_.StartChain();
  world_.Submit({"a", "bcd"});
  const v1::MempoolStatus status = world_.mempool->GetStatus();
  EXPECT_EQ(status.transactions(), 2u);
  EXPECT_EQ(status.bytes(), 4u);
  EXPECT_EQ(status.max_transactions(), world_.limits.max_transactions);
}

}  // namespace
}  // namespace tandem::node

#include "node/executor.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "node/consensus_params.h"
#include "node/validator_set.h"
#include "rpc/base/sha256.h"
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

class ExecutorTest : public ::testing::Test {
 protected:
  // The answer that `spoil` makes of FinalizeBlock's, to a block of one
  // transaction, is refused with `why`; the chain goes on once the application
  // is put right and restarted.
  void ExpectRefused(std::function<void(abci::ResponseFinalizeBlock&)> spoil,
                     const std::string& why) {
    world_.app.hooks.finalize = std::move(spoil);
    world_.Submit({"a"});
    EXPECT_THAT(world_.MakeBlock(),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr("FinalizeBlock"), HasSubstr(why))));
    world_.app.hooks.finalize = nullptr;
    world_.app.Restart();
    world_.Connect();
    EXPECT_THAT(world_.Recover(), IsOk());
    EXPECT_THAT(world_.app.txs(), ElementsAre("a"));
  }

  World world_;
};

TEST_F(ExecutorTest, AnApplicationSeesTheCallsOfCometBft) {
  world_.StartChain();
  world_.Submit({"a"});
  world_.Submit({"b"});
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(
      world_.app.Trace(),
      ElementsAre("Info", "InitChain golden", "PrepareProposal 1",
                  "ProcessProposal 1", "FinalizeBlock 1", "Commit", "CheckTx a",
                  "CheckTx b", "PrepareProposal 2", "ProcessProposal 2",
                  "FinalizeBlock 2 a,b", "Commit"));
}

TEST_F(ExecutorTest, InitChainCarriesTheGenesis) {
  world_.StartChain();
  const auto request = world_.app.last_init_chain();
  EXPECT_EQ(request.chain_id(), "golden");
  EXPECT_EQ(request.initial_height(), 1);
  EXPECT_EQ(request.time().seconds(), world_.genesis.time.seconds());
  EXPECT_EQ(ToHex(request.consensus_params().SerializeAsString()),
            kDefaultParams);
  EXPECT_EQ(request.app_state_bytes(), world_.genesis.app_state);
  ASSERT_EQ(request.validators_size(), 1);
  EXPECT_EQ(request.validators(0).power(), 10);
}

TEST_F(ExecutorTest, ProposalsCarryWhatCometBftsDo) {
  world_.StartChain();
  auto prepare = world_.app.last_prepare();
  EXPECT_EQ(prepare.max_tx_bytes(), 22019254);
  EXPECT_TRUE(prepare.has_local_last_commit());
  EXPECT_EQ(prepare.local_last_commit().votes_size(), 0);
  EXPECT_EQ(prepare.time().seconds(), world_.genesis.time.seconds());
  const std::int64_t first_time = world_.app.last_finalize().time().seconds();
  EXPECT_EQ(first_time, world_.genesis.time.seconds());

  world_.Commit({"a"});
  prepare = world_.app.last_prepare();
  EXPECT_EQ(ToHex(prepare.proposer_address()), kAddressOne);
  ASSERT_EQ(prepare.local_last_commit().votes_size(), 1);
  EXPECT_EQ(prepare.local_last_commit().votes(0).block_id_flag(),
            tendermint::types::BLOCK_ID_FLAG_COMMIT);
  const auto process = world_.app.last_process();
  const auto finalize = world_.app.last_finalize();
  EXPECT_EQ(process.hash(), finalize.hash());
  EXPECT_EQ(process.proposed_last_commit().SerializeAsString(),
            finalize.decided_last_commit().SerializeAsString());
  EXPECT_EQ(finalize.decided_last_commit().votes(0).validator().power(), 10);
  EXPECT_EQ(finalize.time().seconds(), prepare.time().seconds());
  EXPECT_GT(finalize.time().seconds(), first_time);
}

TEST_F(ExecutorTest, BlocksAreAChainThatAReaderCanVerify) {
  world_.StartChain();
  world_.Commit({"a"});
  world_.Commit({"b", "c"});
  ASSERT_EQ(world_.published.size(), 3u);
  for (std::size_t i = 1; i < world_.published.size(); ++i) {
    const v1::CommittedBlock& last = *world_.published[i - 1];
    const v1::Header& header = world_.published[i]->block().header();
    EXPECT_EQ(header.last_block_hash(), last.hash());
    EXPECT_EQ(last.hash(), HashOf(last.block().header()));
    EXPECT_EQ(header.app_hash(), last.app_hash());
    EXPECT_EQ(world_.published[i]->block().last_commit().block_hash(),
              last.hash());
    EXPECT_EQ(header.transactions_root(),
              TransactionsRoot(world_.published[i]->block().txs()));
  }
  EXPECT_EQ(world_.published[0]->block().header().last_results_hash(),
            rpc::Sha256(""));
  abci::ExecTxResult result;
  result.set_data("a");
  result.set_gas_wanted(1);
  google::protobuf::RepeatedPtrField<abci::ExecTxResult> results;
  *results.Add() = result;
  EXPECT_EQ(world_.published[2]->block().header().last_results_hash(),
            ResultsHash(results));
}

TEST_F(ExecutorTest, ClientsAreToldAfterTheStateIsSaved) {
  world_.StartChain();
  const auto outcomes = world_.Submit({"a"});
  world_.app.FailBefore("Commit", absl::InternalError("disk"));
  EXPECT_THAT(world_.MakeBlock(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("Commit failed: disk (INTERNAL)")));
  EXPECT_THAT(outcomes->All(), ElementsAre("0 checked 0"));
  world_.Connect();
  ASSERT_THAT(world_.Recover(), IsOk());
  EXPECT_THAT(outcomes->All(), ElementsAre("0 checked 0", "0 committed 2"));
  EXPECT_EQ(world_.store->LoadState()->height(), 2);
}

TEST_F(ExecutorTest, TheInitialHeightIsTheFirstBlocks) {
  world_.genesis.initial_height = 100;
  world_.StartChain();
  world_.Commit({"a"});
  EXPECT_EQ(world_.app.height(), 101);
  EXPECT_EQ(world_.executor->tip().height, 101);
  EXPECT_EQ(world_.executor->tip().base_height, 100);
}

TEST_F(ExecutorTest, InitChainsAnswerReplacesTheGenesis) {
  world_.genesis.validators.Clear();
  world_.app.hooks.init_chain = [](abci::ResponseInitChain& answer) {
    answer.set_app_hash("at birth");
    answer.mutable_consensus_params()->mutable_block()->set_max_bytes(1 << 20);
    answer.mutable_consensus_params()->mutable_block()->set_max_gas(-1);
    answer.mutable_consensus_params()->mutable_version()->set_app(12);
    for (const char* key : {kKeyOne, kKeyTwo}) {
      auto& update = *answer.add_validators();
      update.mutable_pub_key()->set_ed25519(FromHex(key));
      update.set_power(3);
    }
  };
  world_.StartChain();
  const v1::Header& header = world_.published[0]->block().header();
  EXPECT_EQ(header.app_hash(), "at birth");
  EXPECT_EQ(header.app_version(), 12u);
  EXPECT_EQ(header.validators_hash(),
            HashOf(world_.executor->state().validators()));
  EXPECT_EQ(world_.executor->state().validators_size(), 2);
  EXPECT_EQ(world_.app.last_prepare().max_tx_bytes(),
            (1 << 20) - 11 - 626 - 94 - 2 * 111);
}

TEST_F(ExecutorTest, TheVersionOfInfoIsAdoptedAtBirth) {
  world_.StartChain();
  EXPECT_EQ(world_.published[0]->block().header().app_version(), 7u);
}

TEST_F(ExecutorTest, AnEmptyValidatorSetIsRefused) {
  world_.genesis.validators.Clear();
  world_.Open();
  world_.Connect();
  EXPECT_THAT(world_.Recover(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                         HasSubstr("names no validators")));
}

TEST_F(ExecutorTest, ANodeThatIsNoValidatorSaysSo) {
  world_.app.hooks.init_chain = [](abci::ResponseInitChain& answer) {
    auto& update = *answer.add_validators();
    update.mutable_pub_key()->set_ed25519(FromHex(kKeyTwo));
    update.set_power(3);
  };
  world_.Open();
  world_.Connect();
  ASSERT_THAT(world_.Recover(), IsOk());
  EXPECT_THAT(world_.MakeBlock(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(kAddressOne), HasSubstr(kAddressTwo),
                             HasSubstr("--validator-key"))));
}

TEST_F(ExecutorTest, ValidatorUpdatesAreActiveTwoBlocksLater) {
  world_.StartChain();
  world_.app.hooks.finalize = [](abci::ResponseFinalizeBlock& answer) {
    auto& update = *answer.add_validator_updates();
    update.mutable_pub_key()->set_ed25519(FromHex(kKeyTwo));
    update.set_power(1);
  };
  world_.Commit({"update"});  // block 2
  world_.app.hooks.finalize = nullptr;
  const auto sizes = [&] {
    const auto& state = world_.executor->state();
    return std::vector<int>{state.last_validators_size(),
                            state.validators_size(),
                            state.next_validators_size()};
  };
  EXPECT_THAT(sizes(), ElementsAre(1, 1, 2));
  world_.Commit({"three"});
  EXPECT_EQ(world_.published.back()->block().header().next_validators_hash(),
            HashOf(world_.executor->state().next_validators()));
  EXPECT_THAT(sizes(), ElementsAre(1, 2, 2));
  world_.Commit({"four"});
  EXPECT_EQ(world_.app.last_finalize().decided_last_commit().votes_size(), 1);
  world_.Commit({"five"});
  EXPECT_EQ(world_.app.last_finalize().decided_last_commit().votes_size(), 2);
}

TEST_F(ExecutorTest, ParameterUpdatesHoldFromTheNextBlock) {
  world_.StartChain();
  world_.app.hooks.finalize = [](abci::ResponseFinalizeBlock& answer) {
    auto& block = *answer.mutable_consensus_param_updates()->mutable_block();
    block.set_max_bytes(2000);
    block.set_max_gas(1);
    auto& evidence =
        *answer.mutable_consensus_param_updates()->mutable_evidence();
    evidence = DefaultConsensusParams().evidence();
    evidence.set_max_bytes(0);
  };
  world_.Commit({"update"});
  world_.app.hooks.finalize = nullptr;
  world_.Submit({"a", "b"});
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(world_.app.last_finalize().txs(), ElementsAre("a"));
  ASSERT_THAT(world_.MakeBlock(), IsOk());
  EXPECT_THAT(world_.app.txs(), ElementsAre("update", "a", "b"));
}

TEST_F(ExecutorTest, AWrongNumberOfResultsIsRefused) {
  world_.StartChain();
  ExpectRefused([](abci::ResponseFinalizeBlock& a) { a.add_tx_results(); },
                "returned 2 results for 1 transactions");
}

TEST_F(ExecutorTest, ValidatorUpdatesAgainstTheRulesAreRefused) {
  world_.StartChain();
  ExpectRefused(
      [](abci::ResponseFinalizeBlock& a) {
        auto& update = *a.add_validator_updates();
        update.mutable_pub_key()->set_ed25519(FromHex(kKeyTwo));
        update.set_power(-5);
      },
      "power is -5");
}

TEST_F(ExecutorTest, ParameterUpdatesAgainstTheRulesAreRefused) {
  world_.StartChain();
  ExpectRefused(
      [](abci::ResponseFinalizeBlock& a) {
        a.mutable_consensus_param_updates()->mutable_block()->set_max_bytes(0);
      },
      "max_bytes is 0");
}

TEST_F(ExecutorTest, AnUnknownProposalStatusIsRefused) {
  world_.StartChain();
  world_.app.hooks.process = [](abci::ResponseProcessProposal& answer) {
    answer.clear_status();
  };
  EXPECT_THAT(
      world_.MakeBlock(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("status 0")));
}

TEST_F(ExecutorTest, ARejectedOwnProposalIsRefused) {
  world_.StartChain();
  world_.app.hooks.process = [](abci::ResponseProcessProposal& answer) {
    answer.set_status(abci::ResponseProcessProposal::REJECT);
  };
  EXPECT_THAT(world_.MakeBlock(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("rejected the block")));
}

TEST_F(ExecutorTest, AProposalAboveTheLimitIsRefused) {
  world_.genesis.params.mutable_block()->set_max_bytes(2000);
  world_.genesis.params.mutable_evidence()->set_max_bytes(0);
  world_.StartChain();
  // 1,158 bytes are left: a transaction of 1,155 with its 3 of framing fits.
  world_.app.hooks.prepare = [](abci::ResponsePrepareProposal& answer) {
    answer.add_txs(std::string(1155, 'x'));
  };
  EXPECT_THAT(world_.MakeBlock(), IsOk());
  world_.app.hooks.prepare = [](abci::ResponsePrepareProposal& answer) {
    answer.add_txs(std::string(1156, 'x'));
  };
  EXPECT_THAT(world_.MakeBlock(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("1159 bytes of transactions, 1158")));
}

TEST_F(ExecutorTest, TheApplicationMayAddAndReorderTransactions) {
  world_.StartChain();
  world_.app.hooks.prepare = [](abci::ResponsePrepareProposal& answer) {
    answer.mutable_txs()->SwapElements(0, 1);
    answer.add_txs("own");
  };
  world_.Commit({"a", "b"});
  EXPECT_THAT(world_.app.txs(), ElementsAre("b", "a", "own"));
}

TEST_F(ExecutorTest, BlocksThatTheApplicationReleasesAreForgotten) {
  world_.StartChain();
  world_.Commit({"a"});
  world_.app.hooks.commit = [](abci::ResponseCommit& answer) {
    answer.set_retain_height(3);
  };
  world_.Commit({"b"});
  EXPECT_EQ(world_.executor->tip().base_height, 3);
  EXPECT_THAT(world_.store->LoadBlock(2),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(world_.store->LoadBlock(3), IsOk());
}

TEST_F(ExecutorTest, ARetainHeightInTheFutureForgetsNothing) {
  world_.StartChain();
  world_.app.hooks.commit = [](abci::ResponseCommit& answer) {
    answer.set_retain_height(99);
  };
  world_.Commit({"a"});
  EXPECT_EQ(world_.executor->tip().base_height, 1);
  EXPECT_THAT(world_.store->LoadBlock(1), IsOk());
}

}  // namespace
}  // namespace tandem::node

#include "node/block.h"

#include <openssl/evp.h>

#include "gmock/gmock.h"
#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"
#include "node/consensus_params.h"
#include "node/merkle.h"
#include "node/validator_set.h"
#include "rpc/base/file.h"
#include "rpc/base/sha256.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/node/golden.h"

namespace tandem::node {
namespace {

using google::protobuf::util::TimeUtil;
using rpc::testing::IsOk;
using tendermint::abci::ExecTxResult;

const unsigned char* Bytes(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

bool IsSignature(const std::string& public_key, const std::string& message,
                 const std::string& signature) {
  EVP_PKEY* key = EVP_PKEY_new_raw_public_key(
      EVP_PKEY_ED25519, nullptr, Bytes(public_key), public_key.size());
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  const bool is_good =
      EVP_DigestVerifyInit(context, nullptr, nullptr, nullptr, key) == 1 &&
      EVP_DigestVerify(context, Bytes(signature), signature.size(),
                       Bytes(message), message.size()) == 1;
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(key);
  return is_good;
}

class BlockTest : public ::testing::Test {
 protected:
  BlockTest() {
    const std::string path = dir_.File("key.json");
    EXPECT_THAT(rpc::WriteFile(path, kKeyFileOne, 0600), IsOk());
    key_ = *ValidatorKey::Load(path);
    ValidatorUpdates updates;
    for (const char* key : {kKeyOne, kKeyTwo}) {
      auto& update = *updates.Add();
      update.mutable_pub_key()->set_ed25519(FromHex(key));
      update.set_power(10);
    }
    const auto set = *ApplyUpdates({}, updates);
    state_.set_chain_id("golden");
    state_.set_initial_height(7);
    state_.mutable_time()->set_seconds(1767323045);
    *state_.mutable_last_validators() = set;
    *state_.mutable_validators() = set;
    *state_.mutable_next_validators() = set;
    *state_.mutable_params() = DefaultConsensusParams();
  }

  void GoOnTo(std::int64_t height) {
    state_.set_height(height);
    state_.set_block_hash(rpc::Sha256("the last block"));
  }

  rpc::testing::TempDir dir_;
  absl::StatusOr<ValidatorKey> key_ = absl::UnknownError("not loaded");
  ChainState state_;
};

TEST_F(BlockTest, TransactionsRootIsCometBfts) {
  Transactions txs;
  for (const char* tx : {"a=1", "b=2", "c=3"}) *txs.Add() = tx;
  EXPECT_EQ(ToHex(TransactionsRoot(txs)),
            "cd3c90ad6c3b41ddeb31246298b9142e318c252a2bca42f9751713fabd8e3c37");
}

TEST_F(BlockTest, ResultsHashIsCometBfts) {
  google::protobuf::RepeatedPtrField<ExecTxResult> results;
  results.Add()->set_data("x");
  results[0].set_gas_wanted(1);
  results[0].set_gas_used(2);
  results[0].set_log("not in the hash");
  results.Add()->set_code(5);
  results[1].set_info("not in the hash");
  EXPECT_EQ(ToHex(ResultsHash(results)),
            "6f0cc1e66bf9e4b855711e2b1c0a2770ed5e9983ed879ac3f80f7477535daf26");
}

// The value was made by a program of its own from the definition in node.proto.
TEST_F(BlockTest, BlockHashIsAsTheContractDefinesIt) {
  v1::Header header;
  header.set_app_version(3);
  header.set_chain_id("golden");
  header.set_height(7);
  header.mutable_time()->set_seconds(1767323045);
  header.mutable_time()->set_nanos(6);
  header.set_last_commit_hash(std::string(32, 'c'));
  header.set_transactions_root(std::string(32, 't'));
  header.set_validators_hash(std::string(32, 'v'));
  header.set_next_validators_hash(std::string(32, 'n'));
  header.set_consensus_hash(std::string(32, 'p'));
  header.set_app_hash(std::string(8, 'a'));
  header.set_last_results_hash(std::string(32, 'r'));
  header.set_proposer_address("memememememememememe");
  EXPECT_EQ(ToHex(HashOf(header)),
            "2b7a4dc4ced311566ec27aa034a54b235282003790f38a4aee5f5674d7f64649");
}

TEST_F(BlockTest, TheFirstBlockIsOfTheInitialHeightAndTheGenesisTime) {
  EXPECT_EQ(NextHeight(state_), 7);
  EXPECT_EQ(NextBlockTime(state_, absl::Now()).seconds(), 1767323045);
  EXPECT_EQ(LastCommit(state_, *key_).votes_size(), 0);
}

TEST_F(BlockTest, LaterBlocksAreLaterThoughTheClockIsNot) {
  GoOnTo(7);
  EXPECT_EQ(NextHeight(state_), 8);
  const absl::Time last = absl::FromUnixSeconds(1767323045);
  EXPECT_EQ(TimeUtil::ToString(NextBlockTime(state_, last - absl::Hours(1))),
            "2026-01-02T03:04:05.001Z");
  EXPECT_EQ(TimeUtil::ToString(NextBlockTime(state_, last + absl::Hours(1))),
            "2026-01-02T04:04:05Z");
}

TEST_F(BlockTest, OnlyThisNodeVotesAndItsVoteIsSigned) {
  GoOnTo(9);
  const v1::Commit commit = LastCommit(state_, *key_);
  EXPECT_EQ(commit.height(), 9);
  EXPECT_EQ(commit.block_hash(), state_.block_hash());
  ASSERT_EQ(commit.votes_size(), 2);
  EXPECT_EQ(ToHex(commit.votes(0).validator_address()), kAddressOne);
  EXPECT_EQ(commit.votes(0).flag(), v1::Vote::COMMIT);
  EXPECT_TRUE(IsSignature(FromHex(kKeyOne),
                          "tandem.node.v1.Vote\n" + state_.block_hash(),
                          commit.votes(0).signature()));
  EXPECT_EQ(commit.votes(1).flag(), v1::Vote::ABSENT);
  EXPECT_EQ(commit.votes(1).signature(), "");
}

TEST_F(BlockTest, TheHeaderDescribesStateAndContent) {
  GoOnTo(9);
  state_.set_app_hash("app");
  state_.set_last_results_hash("results");
  state_.set_app_version(2);
  Transactions txs;
  *txs.Add() = "a=1";
  const v1::Block block =
      MakeBlock(state_, *key_, txs, LastCommit(state_, *key_),
                NextBlockTime(state_, absl::Now()));
  const v1::Header& header = block.header();
  EXPECT_EQ(header.height(), 10);
  EXPECT_EQ(header.chain_id(), "golden");
  EXPECT_EQ(header.last_block_hash(), state_.block_hash());
  EXPECT_EQ(header.transactions_root(), TransactionsRoot(txs));
  EXPECT_EQ(header.validators_hash(), HashOf(state_.validators()));
  EXPECT_EQ(header.next_validators_hash(), HashOf(state_.next_validators()));
  EXPECT_EQ(header.consensus_hash(), HashOf(state_.params()));
  EXPECT_EQ(header.app_hash(), "app");
  EXPECT_EQ(header.last_results_hash(), "results");
  EXPECT_EQ(header.app_version(), 2u);
  EXPECT_EQ(ToHex(header.proposer_address()), kAddressOne);
  const std::vector<std::string> votes = {
      block.last_commit().votes(0).SerializeAsString(),
      block.last_commit().votes(1).SerializeAsString()};
  EXPECT_EQ(header.last_commit_hash(), MerkleRoot(votes));
}

TEST_F(BlockTest, TheApplicationIsToldWhatTheBlockSays) {
  GoOnTo(9);
  Transactions txs;
  *txs.Add() = "a=1";
  const v1::Block block =
      MakeBlock(state_, *key_, txs, LastCommit(state_, *key_),
                NextBlockTime(state_, absl::Now()));
  const auto request = FinalizeBlockOf(block);
  EXPECT_EQ(request.hash(), HashOf(block.header()));
  EXPECT_EQ(request.height(), 10);
  EXPECT_EQ(request.txs(0), "a=1");
  EXPECT_EQ(request.next_validators_hash(),
            block.header().next_validators_hash());
  EXPECT_EQ(request.proposer_address(), key_->address());
  ASSERT_EQ(request.decided_last_commit().votes_size(), 2);
  const auto& vote = request.decided_last_commit().votes(0);
  EXPECT_EQ(ToHex(vote.validator().address()), kAddressOne);
  EXPECT_EQ(vote.validator().power(), 10);
  EXPECT_EQ(vote.block_id_flag(), tendermint::types::BLOCK_ID_FLAG_COMMIT);
  EXPECT_EQ(request.decided_last_commit().votes(1).block_id_flag(),
            tendermint::types::BLOCK_ID_FLAG_ABSENT);
}

TEST_F(BlockTest, TheFirstCommitIsPresentAndEmpty) {
  const v1::Block block =
      MakeBlock(state_, *key_, {}, LastCommit(state_, *key_), state_.time());
  EXPECT_TRUE(FinalizeBlockOf(block).has_decided_last_commit());
  EXPECT_TRUE(ProcessProposalOf(block).has_proposed_last_commit());
  EXPECT_EQ(FinalizeBlockOf(block).decided_last_commit().votes_size(), 0);
}

TEST_F(BlockTest, ResultsNameTheirTransaction) {
  v1::Block block;
  block.mutable_header()->set_height(4);
  block.add_txs("a");
  block.add_txs("b");
  tendermint::abci::ResponseFinalizeBlock response;
  response.set_app_hash("hash");
  response.add_tx_results();
  auto& second = *response.add_tx_results();
  second.set_code(3);
  second.set_log("why");
  second.set_codespace("space");
  auto& event = *second.add_events();
  event.set_type("t");
  event.add_attributes()->set_key("k");
  const v1::CommittedBlock committed = MakeCommitted(block, response);
  EXPECT_EQ(committed.hash(), HashOf(block.header()));
  EXPECT_EQ(committed.app_hash(), "hash");
  ASSERT_EQ(committed.results_size(), 2);
  EXPECT_EQ(committed.results(0).hash(), rpc::Sha256("a"));
  const v1::TxResult& result = committed.results(1);
  EXPECT_EQ(result.hash(), rpc::Sha256("b"));
  EXPECT_EQ(result.height(), 4);
  EXPECT_EQ(result.index(), 1u);
  EXPECT_EQ(result.code(), 3u);
  EXPECT_EQ(result.log(), "why");
  EXPECT_EQ(result.codespace(), "space");
  EXPECT_EQ(result.events(0).attributes(0).key(), "k");
}

}  // namespace
}  // namespace tandem::node

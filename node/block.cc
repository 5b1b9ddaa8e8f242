#include "node/block.h"

#include <algorithm>
#include <utility>

#include "google/protobuf/util/time_util.h"
#include "google/protobuf/wrappers.pb.h"
#include "node/consensus_params.h"
#include "node/merkle.h"
#include "node/validator_set.h"
#include "rpc/base/sha256.h"

namespace tandem::node {
namespace {

using google::protobuf::Timestamp;
using google::protobuf::util::TimeUtil;
using tendermint::abci::ExecTxResult;

constexpr char kVoteDomain[] = "tandem.node.v1.Vote\n";

template <typename Wrapper, typename Value>
std::string Leaf(const Value& value) {
  Wrapper wrapper;
  wrapper.set_value(value);
  return wrapper.SerializeAsString();
}

std::string BytesLeaf(const std::string& value) {
  return Leaf<google::protobuf::BytesValue>(value);
}

// Fills what the requests about a block have in common.
template <typename Request>
void FillProposal(const v1::Block& block, Request& request) {
  const v1::Header& header = block.header();
  *request.mutable_txs() = block.txs();
  request.set_hash(HashOf(header));
  request.set_height(header.height());
  *request.mutable_time() = header.time();
  request.set_next_validators_hash(header.next_validators_hash());
  request.set_proposer_address(header.proposer_address());
}

void MoveEvents(
    google::protobuf::RepeatedPtrField<tendermint::abci::Event>& from,
    google::protobuf::RepeatedPtrField<v1::Event>& to) {
  for (auto& event : from) {
    v1::Event& out = *to.Add();
    out.set_type(std::move(*event.mutable_type()));
    for (auto& attribute : *event.mutable_attributes()) {
      v1::EventAttribute& attribute_out = *out.add_attributes();
      attribute_out.set_key(std::move(*attribute.mutable_key()));
      attribute_out.set_value(std::move(*attribute.mutable_value()));
      attribute_out.set_index(attribute.index());
    }
  }
}

void MoveResult(ExecTxResult& from, v1::TxResult& to) {
  to.set_code(from.code());
  to.set_codespace(from.codespace());
  to.set_log(std::move(*from.mutable_log()));
  to.set_data(std::move(*from.mutable_data()));
  to.set_gas_wanted(from.gas_wanted());
  to.set_gas_used(from.gas_used());
  MoveEvents(*from.mutable_events(), *to.mutable_events());
}

}  // namespace

std::string HashOf(const v1::Header& header) {
  using google::protobuf::Int64Value;
  using google::protobuf::StringValue;
  using google::protobuf::UInt64Value;
  const std::string leaves[] = {Leaf<UInt64Value>(header.app_version()),
                                Leaf<StringValue>(header.chain_id()),
                                Leaf<Int64Value>(header.height()),
                                header.time().SerializeAsString(),
                                BytesLeaf(header.last_block_hash()),
                                BytesLeaf(header.last_commit_hash()),
                                BytesLeaf(header.transactions_root()),
                                BytesLeaf(header.validators_hash()),
                                BytesLeaf(header.next_validators_hash()),
                                BytesLeaf(header.consensus_hash()),
                                BytesLeaf(header.app_hash()),
                                BytesLeaf(header.last_results_hash()),
                                BytesLeaf(header.proposer_address())};
  return MerkleRoot(leaves);
}

std::string HashOf(const v1::Commit& commit) {
  std::vector<std::string> leaves;
  for (const v1::Vote& vote : commit.votes()) {
    leaves.push_back(vote.SerializeAsString());
  }
  return MerkleRoot(leaves);
}

std::string TransactionsRoot(const Transactions& txs) {
  std::vector<std::string> leaves;
  leaves.reserve(txs.size());
  for (const std::string& tx : txs) leaves.push_back(rpc::Sha256(tx));
  return MerkleRoot(leaves);
}

std::string ResultsHash(
    const google::protobuf::RepeatedPtrField<ExecTxResult>& results) {
  std::vector<std::string> leaves;
  leaves.reserve(results.size());
  for (const ExecTxResult& result : results) {
    ExecTxResult deterministic;
    deterministic.set_code(result.code());
    deterministic.set_data(result.data());
    deterministic.set_gas_wanted(result.gas_wanted());
    deterministic.set_gas_used(result.gas_used());
    leaves.push_back(deterministic.SerializeAsString());
  }
  return MerkleRoot(leaves);
}

std::int64_t NextHeight(const ChainState& state) {
  return state.height() == 0 ? state.initial_height() : state.height() + 1;
}

Timestamp NextBlockTime(const ChainState& state, absl::Time now) {
  if (state.height() == 0) return state.time();
  const std::int64_t last = TimeUtil::TimestampToNanoseconds(state.time());
  return TimeUtil::NanosecondsToTimestamp(
      std::max(absl::ToUnixNanos(now), last + 1'000'000));
}

v1::Commit LastCommit(const ChainState& state, const ValidatorKey& key) {
  v1::Commit commit;
  if (state.height() == 0) return commit;
  commit.set_height(state.height());
  commit.set_block_hash(state.block_hash());
  for (const auto& validator : state.last_validators()) {
    v1::Vote& vote = *commit.add_votes();
    vote.set_validator_address(AddressOf(validator));
    vote.set_power(validator.voting_power());
    vote.set_flag(v1::Vote::ABSENT);
    if (vote.validator_address() != key.address()) continue;
    vote.set_flag(v1::Vote::COMMIT);
    vote.set_signature(key.Sign(kVoteDomain + state.block_hash()));
  }
  return commit;
}

v1::Block MakeBlock(const ChainState& state, const ValidatorKey& key,
                    Transactions txs, v1::Commit last_commit,
                    const Timestamp& time) {
  v1::Block block;
  *block.mutable_txs() = std::move(txs);
  *block.mutable_last_commit() = std::move(last_commit);
  v1::Header& header = *block.mutable_header();
  header.set_app_version(state.app_version());
  header.set_chain_id(state.chain_id());
  header.set_height(NextHeight(state));
  *header.mutable_time() = time;
  header.set_last_block_hash(state.block_hash());
  header.set_last_commit_hash(HashOf(block.last_commit()));
  header.set_transactions_root(TransactionsRoot(block.txs()));
  header.set_validators_hash(HashOf(state.validators()));
  header.set_next_validators_hash(HashOf(state.next_validators()));
  header.set_consensus_hash(HashOf(state.params()));
  header.set_app_hash(state.app_hash());
  header.set_last_results_hash(state.last_results_hash());
  header.set_proposer_address(key.address());
  return block;
}

tendermint::abci::CommitInfo CommitInfoOf(const v1::Commit& commit) {
  tendermint::abci::CommitInfo info;
  for (const v1::Vote& vote : commit.votes()) {
    auto& out = *info.add_votes();
    out.mutable_validator()->set_address(vote.validator_address());
    out.mutable_validator()->set_power(vote.power());
    out.set_block_id_flag(vote.flag() == v1::Vote::COMMIT
                              ? tendermint::types::BLOCK_ID_FLAG_COMMIT
                              : tendermint::types::BLOCK_ID_FLAG_ABSENT);
  }
  return info;
}

tendermint::abci::RequestProcessProposal ProcessProposalOf(
    const v1::Block& block) {
  tendermint::abci::RequestProcessProposal request;
  FillProposal(block, request);
  *request.mutable_proposed_last_commit() = CommitInfoOf(block.last_commit());
  return request;
}

tendermint::abci::RequestFinalizeBlock FinalizeBlockOf(const v1::Block& block) {
  tendermint::abci::RequestFinalizeBlock request;
  FillProposal(block, request);
  *request.mutable_decided_last_commit() = CommitInfoOf(block.last_commit());
  return request;
}

v1::CommittedBlock MakeCommitted(
    v1::Block block, tendermint::abci::ResponseFinalizeBlock response) {
  v1::CommittedBlock committed;
  committed.set_hash(HashOf(block.header()));
  committed.set_app_hash(response.app_hash());
  MoveEvents(*response.mutable_events(), *committed.mutable_events());
  for (int i = 0; i < response.tx_results_size(); ++i) {
    v1::TxResult& result = *committed.add_results();
    MoveResult(*response.mutable_tx_results(i), result);
    result.set_hash(rpc::Sha256(block.txs(i)));
    result.set_height(block.header().height());
    result.set_index(i);
  }
  *committed.mutable_block() = std::move(block);
  return committed;
}

}  // namespace tandem::node

#include "node/executor.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "node/consensus_params.h"
#include "node/merkle.h"
#include "node/validator_set.h"
#include "proto/abci/block_bytes.h"
#include "rpc/base/fail_point.h"
#include "rpc/base/hex.h"
#include "rpc/base/sha256.h"
#include "rpc/base/status_macros.h"
#include "spdlog/spdlog.h"

namespace tandem::node {
namespace {

using rpc::HexOrNone;
using tendermint::abci::RequestInitChain;
using tendermint::abci::RequestPrepareProposal;
using tendermint::abci::ResponseFinalizeBlock;
using tendermint::abci::ResponseInitChain;
using tendermint::abci::ResponsePrepareProposal;
using tendermint::abci::ResponseProcessProposal;

// A block is made when so many transactions are ready, or after so long, though
// more are about to be.
constexpr std::size_t kEnoughForABlock = 2048;
constexpr absl::Duration kLongestWaitForChecks = absl::Milliseconds(100);

// How far back a start reads for transactions that are not to come again.
constexpr std::int64_t kMostBlocksRemembered = 1000;

absl::Status Wrong(std::string_view call, std::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the application's ", std::string(call), " ", std::string(what)));
}

absl::Status CheckPrepared(const ResponsePrepareProposal& answer,
                           std::int64_t max_bytes) {
  std::int64_t bytes = 0;
  for (const std::string& tx : answer.txs())
    bytes += abci::BytesInBlock(tx.size());
  if (bytes <= max_bytes) return absl::OkStatus();
  return Wrong("PrepareProposal",
               absl::StrCat("returned ", bytes, " bytes of transactions, ",
                            max_bytes, " are allowed"));
}

absl::Status CheckProcessed(const ResponseProcessProposal& answer) {
  switch (answer.status()) {
    case ResponseProcessProposal::ACCEPT:
      return absl::OkStatus();
    case ResponseProcessProposal::REJECT:
      return Wrong("ProcessProposal",
                   "rejected the block that its PrepareProposal made");
    default:
      return Wrong("ProcessProposal",
                   absl::StrCat("answered with status ",
                                static_cast<int>(answer.status()),
                                ", which is neither ACCEPT nor REJECT"));
  }
}

absl::Status CheckFinalized(const v1::Block& block,
                            const ResponseFinalizeBlock& answer) {
  if (answer.tx_results_size() == block.txs_size()) return absl::OkStatus();
  return Wrong(
      "FinalizeBlock",
      absl::StrCat("returned ", answer.tx_results_size(), " results for ",
                   block.txs_size(), " transactions"));
}

// What must be the same each time a block is executed.
std::string Deterministic(const ResponseFinalizeBlock& answer) {
  ResponseFinalizeBlock part;
  *part.mutable_validator_updates() = answer.validator_updates();
  if (answer.has_consensus_param_updates()) {
    *part.mutable_consensus_param_updates() = answer.consensus_param_updates();
  }
  part.set_app_hash(answer.app_hash());
  return part.SerializeAsString() + ResultsHash(answer.tx_results());
}

absl::Status CheckRepeated(std::int64_t height,
                           const ResponseFinalizeBlock& saved,
                           const ResponseFinalizeBlock& answer) {
  if (Deterministic(saved) == Deterministic(answer)) return absl::OkStatus();
  return Wrong(
      "FinalizeBlock",
      absl::StrCat(
          "answered differently for block ", height,
          " than the first time (app hash ", HexOrNone(answer.app_hash()),
          ", it was ", HexOrNone(saved.app_hash()),
          "). An application that was shown the block twice without a Commit "
          "is put right by a restart: restart the application"));
}

// The state after `block`.
absl::StatusOr<ChainState> NextState(const ChainState& state,
                                     const v1::Block& block,
                                     const ResponseFinalizeBlock& answer) {
  ChainState next = state;
  next.set_height(block.header().height());
  next.set_block_hash(HashOf(block.header()));
  *next.mutable_time() = block.header().time();
  *next.mutable_last_validators() = state.validators();
  *next.mutable_validators() = state.next_validators();
  auto validators =
      ApplyUpdates(state.next_validators(), answer.validator_updates());
  if (!validators.ok()) {
    return Wrong("FinalizeBlock",
                 absl::StrCat("updates validators against the rules: ",
                              validators.status().message()));
  }
  *next.mutable_next_validators() = *std::move(validators);
  if (answer.has_consensus_param_updates()) {
    auto params =
        UpdateConsensusParams(state.params(), answer.consensus_param_updates());
    if (!params.ok()) {
      return Wrong("FinalizeBlock",
                   absl::StrCat("updates parameters against the rules: ",
                                params.status().message()));
    }
    *next.mutable_params() = *std::move(params);
    next.set_app_version(next.params().version().app());
  }
  next.set_app_hash(answer.app_hash());
  next.set_last_results_hash(ResultsHash(answer.tx_results()));
  if (next.base_height() == 0) next.set_base_height(next.height());
  return next;
}

// Blocks before `retain` are not needed by the application any more.
void Prune(ChainState& state, std::int64_t retain) {
  if (retain <= state.base_height()) return;
  if (retain > state.height()) {
    spdlog::warn(
        "The application asks to keep blocks from {} on, which is after "
        "the last, {}: ignored.",
        retain, state.height());
    return;
  }
  state.set_base_height(retain);
}

std::string AddressesOf(const ValidatorSet& set) {
  return absl::StrJoin(set, ", ", [](std::string* out, const auto& member) {
    absl::StrAppend(out, absl::BytesToHexString(AddressOf(member)));
  });
}

}  // namespace

Executor::Executor(BlockStore& store, Mempool& mempool, const Genesis& genesis,
                   const ValidatorKey& key, OnCommitted on_committed)
    : store_(store),
      mempool_(mempool),
      genesis_(genesis),
      key_(key),
      on_committed_(std::move(on_committed)) {}

absl::StatusOr<std::unique_ptr<Executor>> Executor::Create(
    BlockStore& store, Mempool& mempool, const Genesis& genesis,
    const ValidatorKey& key, OnCommitted on_committed) {
  std::unique_ptr<Executor> executor(
      new Executor(store, mempool, genesis, key, std::move(on_committed)));
  TANDEM_ASSIGN_OR_RETURN(ChainState state, store.LoadState());
  if (state.chain_id().empty()) {
    state.set_chain_id(genesis.chain_id);
    state.set_initial_height(genesis.initial_height);
    *state.mutable_time() = genesis.time;
    *state.mutable_params() = genesis.params;
    state.set_app_hash(genesis.app_hash);
    state.set_last_results_hash(MerkleRoot({}));
  }
  executor->SetState(std::move(state));
  TANDEM_RETURN_IF_ERROR(executor->RememberCommitted());
  return executor;
}

absl::Status Executor::RememberCommitted() {
  const std::int64_t oldest = std::max(
      state_.base_height(), state_.height() - kMostBlocksRemembered + 1);
  std::vector<std::string> hashes;  // the newest first
  for (std::int64_t height = state_.height();
       height > 0 && height >= oldest && hashes.size() < mempool_.cache_size();
       --height) {
    const absl::StatusOr<v1::Block> block = store_.LoadBlock(height);
    const absl::StatusOr<store::ResultCodes> codes = store_.LoadCodes(height);
    // Recovery says what is wrong with such a store.
    if (absl::IsNotFound(block.status())) break;
    if (absl::IsNotFound(codes.status())) break;
    TANDEM_RETURN_IF_ERROR(block.status());
    TANDEM_RETURN_IF_ERROR(codes.status());
    for (int i = std::min(block->txs_size(), codes->tx_results_size()) - 1;
         i >= 0; --i) {
      if (codes->tx_results(i).code() != 0) continue;
      hashes.push_back(rpc::Sha256(block->txs(i)));
    }
  }
  std::reverse(hashes.begin(), hashes.end());
  mempool_.Remember(hashes);
  return absl::OkStatus();
}

Executor::Tip Executor::tip() const {
  rpc::MutexLock lock(mu_);
  return tip_;
}

void Executor::SetState(ChainState state) {
  state_ = std::move(state);
  mempool_.SetBlockLimits(
      MaxTransactionBytes(state_.params(), state_.validators_size()),
      state_.params().block().max_gas());
  rpc::MutexLock lock(mu_);
  tip_.height = state_.height();
  tip_.base_height = state_.base_height();
  tip_.block_hash = state_.block_hash();
  tip_.app_hash = state_.app_hash();
  tip_.time = state_.time();
}

absl::Status Executor::InitChain(AppConnection& app,
                                 std::uint64_t app_version) {
  RequestInitChain request;
  *request.mutable_time() = genesis_.time;
  request.set_chain_id(genesis_.chain_id);
  *request.mutable_consensus_params() = genesis_.params;
  *request.mutable_validators() = genesis_.validators;
  request.set_app_state_bytes(genesis_.app_state);
  request.set_initial_height(genesis_.initial_height);
  TANDEM_ASSIGN_OR_RETURN(ResponseInitChain answer, app.InitChain(request));
  rpc::FailPoint("node/init-chain-answered");
  if (state_.height() > 0) return absl::OkStatus();
  return AdoptInitChain(answer, app_version);
}

absl::Status Executor::AdoptInitChain(const ResponseInitChain& answer,
                                      std::uint64_t app_version) {
  ChainState state = state_;
  state.set_app_version(app_version);
  const bool app_decides = answer.validators_size() > 0;
  auto validators =
      ApplyUpdates({}, app_decides ? answer.validators() : genesis_.validators);
  if (!validators.ok()) {
    return Wrong("InitChain",
                 absl::StrCat("names validators against the rules: ",
                              validators.status().message()));
  }
  if (validators->empty()) {
    return Wrong("InitChain",
                 "names no validators, and the genesis file has none");
  }
  *state.mutable_validators() = *validators;
  *state.mutable_next_validators() = *std::move(validators);
  if (answer.has_consensus_params()) {
    auto params =
        UpdateConsensusParams(genesis_.params, answer.consensus_params());
    if (!params.ok()) {
      return Wrong("InitChain",
                   absl::StrCat("sets parameters against the rules: ",
                                params.status().message()));
    }
    *state.mutable_params() = *std::move(params);
    state.set_app_version(state.params().version().app());
  }
  state.set_app_hash(answer.app_hash().empty() ? genesis_.app_hash
                                               : answer.app_hash());
  TANDEM_RETURN_IF_ERROR(store_.SaveState(state, 0));
  rpc::FailPoint("node/init-chain-saved");
  SetState(std::move(state));
  return absl::OkStatus();
}

absl::Status Executor::MakeNextBlock(AppConnection& app) {
  if (!HasValidator(state_.validators(), key_.address())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "this node's validator key, of address ", HexOrNone(key_.address()),
        ", is not in the chain's validator set (",
        AddressesOf(state_.validators()),
        "): start the node with the key of one of them (--validator-key)"));
  }
  mempool_.AwaitChecks(kEnoughForABlock, kLongestWaitForChecks);
  mempool_.Pause();
  const absl::Cleanup resume = [this] { mempool_.Resume(); };
  absl::StatusOr<v1::Block> block = Propose(app);
  if (!block.ok()) {
    mempool_.TakeBack();
    return block.status();
  }
  rpc::FailPoint("node/block-proposed");
  TANDEM_RETURN_IF_ERROR(store_.SaveBlock(*block));
  rpc::FailPoint("node/block-saved");
  return ApplySaved(app, *std::move(block));
}

absl::StatusOr<v1::Block> Executor::Propose(AppConnection& app) {
  const auto time = NextBlockTime(state_, absl::Now());
  v1::Commit last_commit = LastCommit(state_, key_);
  const std::int64_t max_bytes =
      MaxTransactionBytes(state_.params(), state_.validators_size());
  RequestPrepareProposal request;
  request.set_max_tx_bytes(max_bytes);
  *request.mutable_txs() = mempool_.Reap();
  request.mutable_local_last_commit();
  const auto commit = CommitInfoOf(last_commit);
  for (const auto& vote : commit.votes()) {
    auto& extended = *request.mutable_local_last_commit()->add_votes();
    *extended.mutable_validator() = vote.validator();
    extended.set_block_id_flag(vote.block_id_flag());
  }
  request.set_height(NextHeight(state_));
  *request.mutable_time() = time;
  request.set_next_validators_hash(HashOf(state_.next_validators()));
  request.set_proposer_address(key_.address());
  TANDEM_ASSIGN_OR_RETURN(ResponsePrepareProposal prepared,
                          app.PrepareProposal(request));
  TANDEM_RETURN_IF_ERROR(CheckPrepared(prepared, max_bytes));
  v1::Block block = MakeBlock(state_, key_, std::move(*prepared.mutable_txs()),
                              std::move(last_commit), time);
  TANDEM_ASSIGN_OR_RETURN(ResponseProcessProposal processed,
                          app.ProcessProposal(ProcessProposalOf(block)));
  TANDEM_RETURN_IF_ERROR(CheckProcessed(processed));
  return block;
}

absl::StatusOr<ResponseFinalizeBlock> Executor::Finalize(
    AppConnection& app, const v1::Block& block) {
  TANDEM_ASSIGN_OR_RETURN(ResponseFinalizeBlock answer,
                          app.FinalizeBlock(FinalizeBlockOf(block)));
  TANDEM_RETURN_IF_ERROR(CheckAnswer(block, answer));
  return answer;
}

absl::Status Executor::CheckAnswer(const v1::Block& block,
                                   const ResponseFinalizeBlock& answer) const {
  TANDEM_RETURN_IF_ERROR(CheckFinalized(block, answer));
  const std::int64_t height = block.header().height();
  const auto saved = store_.LoadResponse(height);
  if (absl::IsNotFound(saved.status())) {
    if (height > state_.height()) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(
        "the block store is broken: it has no response to the committed block ",
        height));
  }
  TANDEM_RETURN_IF_ERROR(saved.status());
  return CheckRepeated(height, *saved, answer);
}

absl::Status Executor::Replay(AppConnection& app, const v1::Block& block) {
  TANDEM_ASSIGN_OR_RETURN(const std::string bytes,
                          app.FinalizeBlockUnread(FinalizeBlockOf(block)));
  const std::int64_t height = block.header().height();
  if (!store_.HasResponse(height, bytes).value_or(false)) {
    ResponseFinalizeBlock answer;
    if (!answer.ParseFromString(bytes)) {
      return Wrong("FinalizeBlock", "returned what is no answer to it");
    }
    TANDEM_RETURN_IF_ERROR(CheckAnswer(block, answer));
  }
  rpc::FailPoint("node/replay-finalized");
  TANDEM_RETURN_IF_ERROR(app.Commit().status());
  rpc::FailPoint("node/replay-committed");
  return absl::OkStatus();
}

absl::Status Executor::ApplySaved(AppConnection& app, v1::Block block) {
  TANDEM_ASSIGN_OR_RETURN(ResponseFinalizeBlock answer, Finalize(app, block));
  TANDEM_ASSIGN_OR_RETURN(ChainState next, NextState(state_, block, answer));
  rpc::FailPoint("node/block-finalized");
  TANDEM_RETURN_IF_ERROR(store_.SaveResponse(block.header().height(), answer));
  rpc::FailPoint("node/response-saved");
  TANDEM_ASSIGN_OR_RETURN(auto commit, app.Commit());
  rpc::FailPoint("node/commit-answered");
  Prune(next, commit.retain_height());
  return SaveAndTell(std::move(next), std::move(block), std::move(answer));
}

absl::Status Executor::ApplyCommitted(v1::Block block) {
  TANDEM_ASSIGN_OR_RETURN(ResponseFinalizeBlock answer,
                          store_.LoadResponse(block.header().height()));
  rpc::FailPoint("node/response-found");
  TANDEM_RETURN_IF_ERROR(CheckFinalized(block, answer));
  TANDEM_ASSIGN_OR_RETURN(ChainState next, NextState(state_, block, answer));
  return SaveAndTell(std::move(next), std::move(block), std::move(answer));
}

absl::Status Executor::SaveAndTell(ChainState next, v1::Block block,
                                   ResponseFinalizeBlock response) {
  auto committed = std::make_shared<const v1::CommittedBlock>(
      MakeCommitted(std::move(block), std::move(response)));
  TANDEM_RETURN_IF_ERROR(
      store_.SaveCommitted(next, *committed, state_.base_height()));
  rpc::FailPoint("node/state-saved");
  SetState(std::move(next));
  // Before clients are told: who then asks for the next block means that.
  on_committed_(committed);
  rpc::FailPoint("node/subscribers-told");
  mempool_.Update(*committed);
  rpc::FailPoint("node/clients-told");
  return absl::OkStatus();
}

absl::Status Executor::CheckFollows(const v1::Block& block) const {
  const v1::Header& header = block.header();
  if (header.height() == NextHeight(state_) &&
      header.chain_id() == state_.chain_id() &&
      header.last_block_hash() == state_.block_hash() &&
      header.app_hash() == state_.app_hash() &&
      header.validators_hash() == HashOf(state_.validators())) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the saved block ", header.height(), " (app hash before it ",
      HexOrNone(header.app_hash()), ") does not follow the state at height ",
      state_.height(), " (app hash ", HexOrNone(state_.app_hash()),
      "): the application does not start from the state that it did"));
}

}  // namespace tandem::node

#include "proto/abci/contract_checker.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "proto/abci/block_bytes.h"
#include "rpc/base/hex.h"

namespace tandem::abci {
namespace {

using google::protobuf::RepeatedPtrField;
using rpc::HexOrNone;
using tendermint::abci::Request;
using tendermint::abci::RequestFinalizeBlock;
using tendermint::abci::RequestInitChain;
using tendermint::abci::RequestPrepareProposal;
using tendermint::abci::Response;
using tendermint::abci::ResponseFinalizeBlock;
using tendermint::abci::ResponseInfo;
using tendermint::abci::ResponseInitChain;
using tendermint::abci::ResponsePrepareProposal;
using tendermint::abci::ResponseProcessProposal;
using tendermint::abci::ResponseVerifyVoteExtension;
using tendermint::abci::ValidatorUpdate;
using tendermint::crypto::PublicKey;

// The most that CometBFT lets all validators have together.
constexpr std::int64_t kMostPower =
    std::numeric_limits<std::int64_t>::max() / 8;

bool IsConsensus(const Request& request) {
  switch (request.value_case()) {
    case Request::kInitChain:
    case Request::kPrepareProposal:
    case Request::kProcessProposal:
    case Request::kExtendVote:
    case Request::kVerifyVoteExtension:
    case Request::kFinalizeBlock:
    case Request::kCommit:
      return true;
    default:
      return false;
  }
}

std::string_view NameOf(const Request& request) {
  switch (request.value_case()) {
    case Request::kEcho:
      return "Echo";
    case Request::kFlush:
      return "Flush";
    case Request::kInfo:
      return "Info";
    case Request::kInitChain:
      return "InitChain";
    case Request::kQuery:
      return "Query";
    case Request::kCheckTx:
      return "CheckTx";
    case Request::kCommit:
      return "Commit";
    case Request::kListSnapshots:
      return "ListSnapshots";
    case Request::kOfferSnapshot:
      return "OfferSnapshot";
    case Request::kLoadSnapshotChunk:
      return "LoadSnapshotChunk";
    case Request::kApplySnapshotChunk:
      return "ApplySnapshotChunk";
    case Request::kPrepareProposal:
      return "PrepareProposal";
    case Request::kProcessProposal:
      return "ProcessProposal";
    case Request::kExtendVote:
      return "ExtendVote";
    case Request::kVerifyVoteExtension:
      return "VerifyVoteExtension";
    case Request::kFinalizeBlock:
      return "FinalizeBlock";
    case Request::kInsertTx:
      return "InsertTx";
    case Request::kReapTxs:
      return "ReapTxs";
    case Request::VALUE_NOT_SET:
      return "a call of an unknown kind";
  }
  return "";
}

std::string Name(const Request& request) {
  return std::string(NameOf(request));
}

std::size_t Hash(const std::string& bytes) {
  return std::hash<std::string>()(bytes);
}

std::size_t HashOf(const RepeatedPtrField<std::string>& txs) {
  RequestFinalizeBlock all;
  *all.mutable_txs() = txs;
  return Hash(all.SerializeAsString());
}

// What must be the same each time a block is executed.
std::size_t HashOf(const ResponseFinalizeBlock& answer) {
  ResponseFinalizeBlock part;
  *part.mutable_validator_updates() = answer.validator_updates();
  if (answer.has_consensus_param_updates()) {
    *part.mutable_consensus_param_updates() = answer.consensus_param_updates();
  }
  part.set_app_hash(answer.app_hash());
  for (const auto& result : answer.tx_results()) {
    auto& same = *part.add_tx_results();
    same.set_code(result.code());
    same.set_data(result.data());
    same.set_gas_wanted(result.gas_wanted());
    same.set_gas_used(result.gas_used());
  }
  return Hash(part.SerializeAsString());
}

// As consensus parameters name it; "" for an unknown kind.
std::string TypeOf(const PublicKey& key) {
  switch (key.sum_case()) {
    case PublicKey::kEd25519:
      return "ed25519";
    case PublicKey::kSecp256K1:
      return "secp256k1";
    default:
      return "";
  }
}

bool HasRightLength(const PublicKey& key) {
  switch (key.sum_case()) {
    case PublicKey::kEd25519:
      return key.ed25519().size() == 32;
    case PublicKey::kSecp256K1:
      return key.secp256k1().size() == 33;
    case PublicKey::SUM_NOT_SET:
      return false;
    default:
      return true;
  }
}

}  // namespace

void ContractChecker::Report(std::string_view rule, std::string what) {
  violations_.push_back({record_, std::string(rule), std::move(what)});
}

std::vector<Violation> ContractChecker::TakeViolations() {
  return std::exchange(violations_, {});
}

void ContractChecker::Take(const v1::TraceRecord& record) {
  ++record_;
  switch (record.event_case()) {
    case v1::TraceRecord::kStarted:
      return OnStarted();
    case v1::TraceRecord::kConnected:
      return OnConnected(record.connected().connection());
    case v1::TraceRecord::kDisconnected:
      return OnDisconnected(record.disconnected().connection());
    case v1::TraceRecord::kCallBegan:
      return OnBegan(record.call_began());
    case v1::TraceRecord::kCallEnded:
      return OnEnded(record.call_ended());
    case v1::TraceRecord::EVENT_NOT_SET:
      return;
  }
}

void ContractChecker::OnStarted() {
  connections_.clear();
  calls_.clear();
  MeetAnew();
}

void ContractChecker::OnConnected(std::uint64_t connection) {
  connections_[connection] = false;
  MeetAnew();
}

void ContractChecker::MeetAnew() {
  is_fresh_ = true;
  has_begun_ = false;
  staged_.reset();
  must_ask_.clear();
  may_begin_again_ = true;
}

void ContractChecker::OnDisconnected(std::uint64_t connection) {
  connections_.erase(connection);
  std::erase_if(calls_, [connection](const auto& call) {
    return call.second.connection == connection;
  });
}

void ContractChecker::OnBegan(const v1::CallBegan& began) {
  const Request& request = began.request();
  Call call{.connection = began.connection(),
            .request = request,
            .committed = committed_};
  if (call.connection != 0 && !connections_[call.connection] &&
      !request.has_info() && !request.has_echo() && !request.has_flush()) {
    Report("N1", absl::StrCat(Name(request),
                              " before Info was answered on "
                              "connection ",
                              call.connection));
  }
  if (IsConsensus(request)) OnConsensusBegan(call);
  if (request.has_check_tx()) {
    OnCheckTxBegan();
    call.request.mutable_check_tx()->clear_tx();
  }
  if (request.has_insert_tx() || request.has_reap_txs()) app_has_pool_ = true;
  calls_[began.call()] = std::move(call);
}

void ContractChecker::OnConsensusBegan(Call& call) {
  const Request& request = call.request;
  const std::string name = Name(request);
  for (const auto& [number, other] : calls_) {
    if (!IsConsensus(other.request)) continue;
    Report("N2", absl::StrCat(name, " while ", Name(other.request),
                              " is not answered"));
  }
  if (!must_ask_.empty()) {
    Report("N10",
           absl::StrCat(name, " without Info before it, after ", must_ask_));
  }
  if (staged_ && !request.has_commit() && !may_begin_again_) {
    Report("N3", absl::StrCat(name, " between FinalizeBlock of height ",
                              *staged_, " and its Commit"));
  }
  may_begin_again_ = false;
  if (request.has_commit()) return OnCommitBegan();
  staged_.reset();
  switch (request.value_case()) {
    case Request::kInitChain:
      if (committed_.value_or(0) > 0) {
        Report("N5", absl::StrCat("InitChain, but height ", *committed_,
                                  " is committed"));
      }
      return;
    case Request::kPrepareProposal:
      CheckHeight(name, request.prepare_proposal().height());
      CheckVotes(name, request.prepare_proposal().height(),
                 request.prepare_proposal().local_last_commit().votes_size());
      return;
    case Request::kProcessProposal:
      CheckHeight(name, request.process_proposal().height());
      CheckVotes(
          name, request.process_proposal().height(),
          request.process_proposal().proposed_last_commit().votes_size());
      call.is_own_proposal = CheckProposal(name, request.process_proposal());
      return;
    case Request::kExtendVote:
      return CheckHeight(name, request.extend_vote().height());
    case Request::kFinalizeBlock:
      CheckHeight(name, request.finalize_block().height());
      CheckVotes(name, request.finalize_block().height(),
                 request.finalize_block().decided_last_commit().votes_size());
      CheckProposal(name, request.finalize_block());
      CheckSameBlock(request.finalize_block());
      return;
    default:
      return;
  }
}

void ContractChecker::OnCommitBegan() {
  if (!staged_) {
    Report("N3",
           "Commit without a FinalizeBlock directly before it that was "
           "answered well");
    return;
  }
  maybe_ = staged_;
  if (app_has_pool_) return;
  const auto checks = std::count_if(
      calls_.begin(), calls_.end(),
      [](const auto& call) { return call.second.request.has_check_tx(); });
  if (checks > 0) {
    Report("N9", absl::StrCat("Commit of height ", *staged_, " while ", checks,
                              " CheckTx are not answered"));
  }
}

void ContractChecker::OnCheckTxBegan() {
  if (app_has_pool_) return;
  for (const auto& [number, call] : calls_) {
    if (!call.request.has_commit()) continue;
    Report("N9", "CheckTx while Commit is not answered");
  }
}

void ContractChecker::CheckHeight(std::string_view name, std::int64_t height) {
  const std::string what =
      absl::StrCat(std::string(name), " of height ", height);
  // Tools begin no chain.
  if (height == 0 && !has_begun_ && committed_.value_or(0) == 0) return;
  if (!committed_) return;
  std::vector<std::int64_t> allowed;
  for (const auto& last : {committed_, maybe_}) {
    if (!last) continue;
    if (*last > 0) allowed.push_back(*last + 1);
    if (*last == 0 && initial_) allowed.push_back(*initial_);
  }
  if (!has_begun_ && *committed_ == 0 && !maybe_) {
    Report("N5", absl::StrCat(what,
                              " without InitChain, though the "
                              "application has nothing committed"));
  } else if (!allowed.empty() && std::find(allowed.begin(), allowed.end(),
                                           height) == allowed.end()) {
    Report("N4", absl::StrCat(what, ", but height ", *committed_,
                              " is committed, so that the next is ",
                              allowed.front()));
  }
}

void ContractChecker::CheckVotes(std::string_view name, std::int64_t height,
                                 int votes) {
  if (!initial_ || height < *initial_) return;
  const bool is_first = height == *initial_;
  if (is_first == (votes == 0)) return;
  Report("N7",
         absl::StrCat(std::string(name), " of height ", height, " has ", votes,
                      " votes of the block before; the chain's "
                      "first block is ",
                      *initial_));
}

template <typename T>
bool ContractChecker::CheckProposal(std::string_view name, const T& request) {
  const std::string time = request.time().SerializeAsString();
  bool is_own = false;
  bool is_same = false;
  const std::size_t txs = HashOf(request.txs());
  for (const Proposal& proposal : proposals_) {
    if (proposal.height != request.height() || proposal.time != time ||
        proposal.proposer != request.proposer_address()) {
      continue;
    }
    is_own = true;
    is_same |= proposal.txs == txs;
  }
  if (is_own && !is_same) {
    Report("N8",
           absl::StrCat(std::string(name), " of height ", request.height(),
                        " has other transactions than "
                        "PrepareProposal answered for this block"));
  }
  return is_own && is_same;
}

void ContractChecker::CheckSameBlock(const RequestFinalizeBlock& request) {
  if (request.height() == 0) return;
  const std::size_t hash = Hash(request.SerializeAsString());
  const auto [it, is_new] = blocks_.try_emplace(request.height());
  if (is_new) {
    it->second.request = hash;
    if (blocks_.size() > kBlocksRemembered) blocks_.erase(blocks_.begin());
  } else if (it->second.request != hash) {
    Report("N6", absl::StrCat("FinalizeBlock of height ", request.height(),
                              " brings another block than the first time"));
  }
}

void ContractChecker::OnEnded(const v1::CallEnded& ended) {
  const auto it = calls_.find(ended.call());
  if (it == calls_.end()) return;
  const Call call = std::move(it->second);
  calls_.erase(it);
  if (ended.has_error()) return OnFailed(call, ended.error());
  OnAnswer(call, ended.response());
}

void ContractChecker::OnFailed(const Call& call, const v1::CallError& error) {
  if (!IsConsensus(call.request)) return;
  staged_.reset();
  must_ask_ = absl::StrCat(
      Name(call.request), " that failed (",
      absl::StatusCodeToString(static_cast<absl::StatusCode>(error.code())),
      ")");
}

void ContractChecker::OnAnswer(const Call& call, const Response& response) {
  const Request& request = call.request;
  switch (request.value_case()) {
    case Request::kInfo:
      return OnInfo(call, response.info());
    case Request::kQuery:
      if (!is_fresh_ && committed_ && response.query().code() == 0 &&
          response.query().height() > Highest()) {
        Report("A1",
               absl::StrCat("Query tells height ", response.query().height(),
                            ", which is not committed"));
      }
      return;
    case Request::kInitChain:
      return OnInitChain(request.init_chain(), response.init_chain());
    case Request::kPrepareProposal:
      return OnPrepared(request.prepare_proposal(),
                        response.prepare_proposal());
    case Request::kProcessProposal:
      Settle(request.process_proposal().height());
      if (response.process_proposal().status() ==
          ResponseProcessProposal::UNKNOWN) {
        Report("A3", "ProcessProposal answers with the status UNKNOWN");
      }
      if (response.process_proposal().status() ==
              ResponseProcessProposal::REJECT &&
          call.is_own_proposal) {
        Report("A4", absl::StrCat("ProcessProposal of height ",
                                  request.process_proposal().height(),
                                  " rejects what PrepareProposal made"));
      }
      return;
    case Request::kVerifyVoteExtension:
      if (response.verify_vote_extension().status() ==
          ResponseVerifyVoteExtension::UNKNOWN) {
        Report("A3", "VerifyVoteExtension answers with the status UNKNOWN");
      }
      return;
    case Request::kExtendVote:
      return Settle(request.extend_vote().height());
    case Request::kFinalizeBlock:
      return OnFinalized(request.finalize_block(), response.finalize_block());
    case Request::kCommit:
      if (staged_) {
        SetCommitted(*staged_);
        maybe_.reset();
      }
      staged_.reset();
      return;
    case Request::kApplySnapshotChunk:
      // It may have been the last one.
      committed_.reset();
      maybe_.reset();
      staged_.reset();
      validators_.reset();
      return;
    default:
      return;
  }
}

void ContractChecker::OnInfo(const Call& call, const ResponseInfo& info) {
  const std::int64_t height = info.last_block_height();
  if (height < 0) {
    return Report("A1", absl::StrCat("Info tells height ", height));
  }
  must_ask_.clear();
  const auto block = blocks_.find(height);
  const bool is_other = height > 0 && block != blocks_.end() &&
                        block->second.is_answered &&
                        block->second.app_hash != info.last_block_app_hash();
  if (is_fresh_) {
    if (committed_ && height > Highest() && height == updated_) {
      Report("A1", absl::StrCat("Info tells height ", height,
                                ", whose Commit was never called"));
    } else if (committed_ && height < *committed_ &&
               !options_.allow_older_state) {
      Report("A8", absl::StrCat("Info tells height ", height,
                                ", but Commit of height ", *committed_,
                                " was answered: it was not durable, or an "
                                "older state was restored"));
    }
    is_foreign_ = is_other;
    if (height != committed_) maybe_.reset();
    SetCommitted(height);
    is_fresh_ = false;
  } else if (!committed_) {
    SetCommitted(height);
  } else {
    if (height < call.committed.value_or(0) || height > Highest()) {
      Report("A1", absl::StrCat("Info tells height ", height, ", but height ",
                                *committed_, " is committed"));
    }
    if (height == maybe_) {
      SetCommitted(height);
      maybe_.reset();
    }
  }
  if (is_other) {
    const std::string what = absl::StrCat(
        "Info told app hash ", HexOrNone(info.last_block_app_hash()),
        " at height ", height, ", where FinalizeBlock answered ",
        HexOrNone(block->second.app_hash));
    if (is_foreign_) {
      must_ask_ = what;
    } else {
      Report("A1", what);
    }
  }
  may_begin_again_ = true;
  if (call.connection != 0) connections_[call.connection] = true;
}

void ContractChecker::OnInitChain(const RequestInitChain& request,
                                  const ResponseInitChain& answer) {
  has_begun_ = true;
  initial_ = std::max<std::int64_t>(request.initial_height(), 1);
  if (!committed_) committed_ = 0;
  RequestInitChain identity;
  identity.set_chain_id(request.chain_id());
  *identity.mutable_time() = request.time();
  identity.set_initial_height(request.initial_height());
  const std::string chain = identity.SerializeAsString();
  if (chain != chain_) {
    blocks_.clear();
    proposals_.clear();
  }
  chain_ = chain;

  validators_.emplace();
  const auto& first =
      answer.validators_size() > 0 ? answer.validators() : request.validators();
  for (const ValidatorUpdate& validator : first) {
    (*validators_)[validator.pub_key().SerializeAsString()] = validator.power();
  }
  const auto& params = answer.consensus_params().has_validator()
                           ? answer.consensus_params()
                           : request.consensus_params();
  key_types_.assign(params.validator().pub_key_types().begin(),
                    params.validator().pub_key_types().end());
  updated_.reset();
}

void ContractChecker::OnPrepared(const RequestPrepareProposal& request,
                                 const ResponsePrepareProposal& answer) {
  Settle(request.height());
  std::int64_t bytes = 0;
  for (const std::string& tx : answer.txs()) bytes += BytesInBlock(tx.size());
  if (bytes > request.max_tx_bytes()) {
    Report("A2", absl::StrCat("PrepareProposal of height ", request.height(),
                              " answers ", bytes, " bytes, ",
                              request.max_tx_bytes(), " are allowed"));
  }
  if (!proposals_.empty() && proposals_[0].height != request.height()) {
    proposals_.clear();
  }
  proposals_.push_back({request.height(), request.time().SerializeAsString(),
                        request.proposer_address(), HashOf(answer.txs())});
}

void ContractChecker::OnFinalized(const RequestFinalizeBlock& request,
                                  const ResponseFinalizeBlock& answer) {
  const std::int64_t height = request.height();
  Settle(height);
  staged_ = height;
  if (answer.tx_results_size() != request.txs_size()) {
    Report("A5", absl::StrCat("FinalizeBlock of height ", height, " answers ",
                              answer.tx_results_size(), " results to ",
                              request.txs_size(), " transactions"));
  }
  const std::size_t hash = HashOf(answer);
  if (const auto it = blocks_.find(height); it != blocks_.end()) {
    Block& block = it->second;
    if (block.is_answered && block.answer != hash) {
      Report("A6",
             absl::StrCat("FinalizeBlock of height ", height,
                          " answers differently than the first time (app hash ",
                          HexOrNone(answer.app_hash()), ", it was ",
                          HexOrNone(block.app_hash), ")"));
    }
    if (!block.is_answered) {
      block.is_answered = true;
      block.answer = hash;
      block.app_hash = answer.app_hash();
    }
  }
  next_key_types_ = key_types_;
  if (answer.consensus_param_updates().has_validator()) {
    const auto& types =
        answer.consensus_param_updates().validator().pub_key_types();
    next_key_types_.assign(types.begin(), types.end());
  }
  CheckUpdates(height, answer.validator_updates());
  updated_ = height;
}

void ContractChecker::CheckUpdates(std::int64_t height,
                                   const ValidatorUpdates& updates) {
  const auto wrong = [this, height](const std::string& what) {
    Report("A7", absl::StrCat("FinalizeBlock of height ", height, " ", what));
  };
  next_validators_ = validators_;
  std::set<std::string> seen;
  for (const ValidatorUpdate& update : updates) {
    const std::string key = update.pub_key().SerializeAsString();
    const std::string type = TypeOf(update.pub_key());
    if (!seen.insert(key).second) {
      wrong(absl::StrCat("updates the validator ", HexOrNone(key), " twice"));
    }
    if (!HasRightLength(update.pub_key())) {
      wrong(absl::StrCat("updates a validator whose key is none: ",
                         HexOrNone(key)));
    }
    if (update.power() < 0) {
      wrong(absl::StrCat("gives the validator ", HexOrNone(key), " the power ",
                         update.power()));
    }
    if (update.power() > 0 && !type.empty() && !key_types_.empty() &&
        std::find(key_types_.begin(), key_types_.end(), type) ==
            key_types_.end()) {
      wrong(absl::StrCat("gives a validator a key of the kind ", type,
                         ", which the chain does not allow"));
    }
    if (!next_validators_) continue;
    if (update.power() != 0) {
      (*next_validators_)[key] = update.power();
    } else if (next_validators_->erase(key) == 0) {
      wrong(absl::StrCat("removes the validator ", HexOrNone(key),
                         ", which is not one"));
    }
  }
  if (!next_validators_ || updates.empty()) return;
  if (next_validators_->empty()) wrong("removes all validators");
  // Each is checked, so that the sum cannot overflow.
  std::int64_t total = 0;
  for (const auto& [key, power] : *next_validators_) {
    if (power > kMostPower - total) {
      return wrong(
          absl::StrCat("gives all validators together more than the "
                       "power ",
                       kMostPower));
    }
    total += std::max<std::int64_t>(power, 0);
  }
}

void ContractChecker::SetCommitted(std::int64_t height) {
  if (updated_ == height) {
    validators_ = std::exchange(next_validators_, std::nullopt);
    key_types_ = std::exchange(next_key_types_, {});
    updated_.reset();
  } else if (committed_ != height) {
    validators_.reset();
    key_types_.clear();
  }
  committed_ = height;
}

std::int64_t ContractChecker::Highest() const {
  return std::max(committed_.value_or(0), maybe_.value_or(0));
}

void ContractChecker::Settle(std::int64_t height) {
  if (maybe_ && height == *maybe_ + 1) SetCommitted(*maybe_);
  maybe_.reset();
  if (!committed_ && height > 0) committed_ = height - 1;
}

}  // namespace tandem::abci

#include "proto/abci/contract_checker.h"

#include <algorithm>
#include <functional>
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
using tendermint::abci::RequestExtendVote;
using tendermint::abci::RequestFinalizeBlock;
using tendermint::abci::RequestInitChain;
using tendermint::abci::RequestPrepareProposal;
using tendermint::abci::RequestVerifyVoteExtension;
using tendermint::abci::Response;
using tendermint::abci::ResponseExtendVote;
using tendermint::abci::ResponseFinalizeBlock;
using tendermint::abci::ResponseInfo;
using tendermint::abci::ResponseInitChain;
using tendermint::abci::ResponsePrepareProposal;
using tendermint::abci::ResponseProcessProposal;
using tendermint::abci::ResponseVerifyVoteExtension;

// CometBFT's constant.
constexpr std::size_t kMostExtensionBytes = 1 << 20;

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

}  // namespace

void ContractChecker::Report(std::string_view rule, std::string what) {
  violations_.push_back({record_, std::string(rule), std::move(what)});
}

void ContractChecker::ReportAll(std::string_view rule, std::string_view call,
                                const Faults& faults) {
  for (const std::string& fault : faults) {
    Report(rule, absl::StrCat(std::string(call), " ", fault));
  }
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
                 request.prepare_proposal().local_last_commit());
      return CheckExtensions(request.prepare_proposal());
    case Request::kProcessProposal:
      CheckHeight(name, request.process_proposal().height());
      CheckVotes(name, request.process_proposal().height(),
                 request.process_proposal().proposed_last_commit());
      call.is_own_proposal = CheckProposal(name, request.process_proposal());
      return;
    case Request::kExtendVote:
      CheckHeight(name, request.extend_vote().height());
      CheckVotes(name, request.extend_vote().height(),
                 request.extend_vote().proposed_last_commit());
      CheckProposal(name, request.extend_vote());
      return CheckHasExtensions(name, request.extend_vote().height());
    case Request::kVerifyVoteExtension:
      CheckHeight(name, request.verify_vote_extension().height());
      return CheckHasExtensions(name, request.verify_vote_extension().height());
    case Request::kFinalizeBlock:
      CheckHeight(name, request.finalize_block().height());
      CheckVotes(name, request.finalize_block().height(),
                 request.finalize_block().decided_last_commit());
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

template <typename Commit>
void ContractChecker::CheckVotes(std::string_view name, std::int64_t height,
                                 const Commit& commit) {
  if (!initial_ || height < *initial_) return;
  const std::string what =
      absl::StrCat(std::string(name), " of height ", height);
  const bool is_first = height == *initial_;
  if (is_first != (commit.votes_size() == 0)) {
    return Report("N7", absl::StrCat(what, " has ", commit.votes_size(),
                                     " votes of the block before; the chain's "
                                     "first block is ",
                                     *initial_));
  }
  // What a block changes is in force at the second after it, and their votes
  // are in the third.
  const ValidatorSet* const validators =
      validators_.After(std::max(height - 3, *initial_ - 1));
  if (is_first || validators == nullptr) return;
  auto powers = PowersByAddress(*validators);
  for (const auto& vote : commit.votes()) {
    const auto is_its = [&vote](const auto& one) {
      return one.second == vote.validator().power() &&
             (one.first.empty() || one.first == vote.validator().address());
    };
    const auto it = std::find_if(powers.begin(), powers.end(), is_its);
    if (it == powers.end()) {
      return Report("N7",
                    absl::StrCat(what, " has a vote of the validator ",
                                 HexOrNone(vote.validator().address()),
                                 " with the power ", vote.validator().power(),
                                 ", which was none of the block before"));
    }
    powers.erase(it);
  }
  if (!powers.empty()) {
    Report("N7", absl::StrCat(what, " says nothing of ", powers.size(),
                              " validators of the block before"));
  }
}

void ContractChecker::CheckHasExtensions(std::string_view name,
                                         std::int64_t height) {
  const ConsensusParams* const params = params_.After(height - 1);
  if (params == nullptr || HasVoteExtensions(*params, height)) return;
  Report("N11", absl::StrCat(
                    std::string(name), " of height ", height,
                    ", but the chain's abci.vote_extensions_enable_height is ",
                    params->abci().vote_extensions_enable_height()));
}

void ContractChecker::CheckExtensions(const RequestPrepareProposal& request) {
  const ConsensusParams* const params = params_.After(request.height() - 1);
  if (params == nullptr) return;
  const bool are_extended = HasVoteExtensions(*params, request.height() - 1);
  for (const auto& vote : request.local_last_commit().votes()) {
    const bool has_signature = !vote.extension_signature().empty();
    const bool needs_signature =
        are_extended &&
        vote.block_id_flag() == tendermint::types::BLOCK_ID_FLAG_COMMIT;
    if (has_signature == needs_signature &&
        (vote.vote_extension().empty() || needs_signature)) {
      continue;
    }
    Report("N11",
           absl::StrCat("PrepareProposal of height ", request.height(),
                        " has a vote of the block before ",
                        needs_signature ? "without a signed extension"
                                        : "with an extension",
                        ", which ",
                        needs_signature ? "has to be there" : "cannot be"));
  }
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
      OnVerdict("ProcessProposal", request.process_proposal(),
                response.process_proposal().status());
      if (response.process_proposal().status() ==
              ResponseProcessProposal::REJECT &&
          call.is_own_proposal) {
        Report("A4", absl::StrCat("ProcessProposal of height ",
                                  request.process_proposal().height(),
                                  " rejects what PrepareProposal made"));
      }
      return;
    case Request::kVerifyVoteExtension:
      return OnVerified(request.verify_vote_extension(),
                        response.verify_vote_extension());
    case Request::kExtendVote:
      return OnExtended(request.extend_vote(), response.extend_vote());
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
      validators_.Forget();
      params_.Forget();
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
    if (committed_ && height > Highest() && height == finalized_) {
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

  verdicts_.clear();
  finalized_.reset();
  Faults faults;
  ValidatorSet validators;
  if (!answer.validators().empty()) {
    Apply(answer.validators(), nullptr, &validators, faults);
  } else {
    // The node's count, and are its fault.
    Faults ignored;
    Apply(request.validators(), nullptr, &validators, ignored);
    if (validators.empty()) {
      faults.emplace_back("names no validators, nor does the node");
    }
  }
  ReportAll("A7", "InitChain", faults);
  validators_.Forget();
  validators_.Change(*initial_ - 1, std::move(validators));
  params_.Forget();
  if (!request.has_consensus_params()) return;
  ConsensusParams params = request.consensus_params();
  Apply(answer.consensus_params(), params);
  faults.clear();
  Check(answer.consensus_params(), params, faults);
  ReportAll("A9", "InitChain", faults);
  params_.Change(*initial_ - 1, std::move(params));
}

void ContractChecker::OnPrepared(const RequestPrepareProposal& request,
                                 const ResponsePrepareProposal& answer) {
  Settle(request.height());
  own_address_ = request.proposer_address();
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
  finalized_ = height;
  OnUpdates(height, answer.validator_updates());
  OnUpdates(height, answer.consensus_param_updates());
}

void ContractChecker::OnUpdates(std::int64_t height,
                                const ValidatorUpdates& updates) {
  if (updates.empty()) return validators_.Keep(height);
  const ValidatorSet* const before = validators_.After(height - 1);
  ValidatorSet after;
  if (before != nullptr) after = *before;
  Faults faults;
  Apply(updates, params_.After(height - 1), before ? &after : nullptr, faults);
  ReportAll("A7", absl::StrCat("FinalizeBlock of height ", height), faults);
  if (before == nullptr) return validators_.Keep(height);
  validators_.Change(height, std::move(after));
}

void ContractChecker::OnUpdates(std::int64_t height,
                                const ConsensusParams& update) {
  const ConsensusParams* const before = params_.After(height - 1);
  ConsensusParams after;
  if (before != nullptr) after = *before;
  Apply(update, after);
  Faults faults;
  Check(update, after, faults);
  if (before != nullptr) CheckEnableHeight(update, *before, height, faults);
  ReportAll("A9", absl::StrCat("FinalizeBlock of height ", height), faults);
  // Some applications tell all parameters each time.
  if (before == nullptr ||
      after.SerializeAsString() == before->SerializeAsString()) {
    return params_.Keep(height);
  }
  params_.Change(height, std::move(after));
}

void ContractChecker::OnExtended(const RequestExtendVote& request,
                                 const ResponseExtendVote& answer) {
  Settle(request.height());
  if (answer.vote_extension().size() > kMostExtensionBytes) {
    Report("A2", absl::StrCat("ExtendVote of height ", request.height(),
                              " answers ", answer.vote_extension().size(),
                              " bytes, ", kMostExtensionBytes, " are allowed"));
  }
  extension_ = {request.height(), request.hash(), answer.vote_extension()};
}

void ContractChecker::OnVerified(const RequestVerifyVoteExtension& request,
                                 const ResponseVerifyVoteExtension& answer) {
  Settle(request.height());
  if (answer.status() == ResponseVerifyVoteExtension::UNKNOWN) {
    Report("A3", "VerifyVoteExtension answers with the status UNKNOWN");
  }
  OnVerdict("VerifyVoteExtension", request, answer.status());
  const bool is_own = extension_ && extension_->height == request.height() &&
                      extension_->block == request.hash() &&
                      extension_->bytes == request.vote_extension() &&
                      own_address_ == request.validator_address();
  if (is_own && answer.status() == ResponseVerifyVoteExtension::REJECT) {
    Report("A4",
           absl::StrCat("VerifyVoteExtension of height ", request.height(),
                        " rejects what ExtendVote made"));
  }
}

void ContractChecker::OnVerdict(std::string_view name,
                                const google::protobuf::Message& request,
                                int verdict) {
  const auto [it, is_new] = verdicts_.try_emplace(
      Hash(absl::StrCat(std::string(name), request.SerializeAsString())),
      verdict);
  if (!is_new && it->second != verdict) {
    Report("A6", absl::StrCat(std::string(name),
                              " gives another verdict than the first time"));
  }
}

void ContractChecker::SetCommitted(std::int64_t height) {
  if (finalized_ == height) finalized_.reset();
  if (committed_ != height) verdicts_.clear();
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

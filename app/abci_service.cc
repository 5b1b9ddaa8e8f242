#include "app/abci_service.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "proto/abci/block_bytes.h"
#include "rpc/base/status_macros.h"

namespace tandem::app {
namespace {

// What a node takes for an answer. Most methods have no wrong ones.
template <typename Q, typename R>
absl::Status CheckAnswer(const Q& request, const R& answer) {
  return absl::OkStatus();
}

absl::Status CheckAnswer(const abci::RequestPrepareProposal& request,
                         const abci::ResponsePrepareProposal& answer) {
  std::int64_t bytes = 0;
  for (const std::string& tx : answer.txs()) {
    bytes += ::tandem::abci::BytesInBlock(tx.size());
  }
  if (bytes <= request.max_tx_bytes()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "the application's PrepareProposal chose ", bytes,
      " bytes of transactions where ", request.max_tx_bytes(), " have room"));
}

absl::Status CheckAnswer(const abci::RequestProcessProposal& request,
                         const abci::ResponseProcessProposal& answer) {
  if (answer.status() != abci::ResponseProcessProposal::UNKNOWN) {
    return absl::OkStatus();
  }
  return absl::InternalError(
      "the application's ProcessProposal neither accepts nor rejects: its "
      "status is UNKNOWN");
}

absl::Status CheckAnswer(const abci::RequestVerifyVoteExtension& request,
                         const abci::ResponseVerifyVoteExtension& answer) {
  if (answer.status() != abci::ResponseVerifyVoteExtension::UNKNOWN) {
    return absl::OkStatus();
  }
  return absl::InternalError(
      "the application's VerifyVoteExtension neither accepts nor rejects: its "
      "status is UNKNOWN");
}

absl::Status CheckAnswer(const abci::RequestFinalizeBlock& request,
                         const abci::ResponseFinalizeBlock& answer) {
  if (answer.tx_results_size() == request.txs_size()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "the application's FinalizeBlock answered ", answer.tx_results_size(),
      " results to ", request.txs_size(), " transactions"));
}

}  // namespace

AbciService::AbciService(Application& application)
    : application_(application),
      order_(application),
      consensus_([this] { TakeTurns(); }) {}

AbciService::~AbciService() {
  {
    rpc::MutexLock lock(mu_);
    stopping_ = true;
    mu_.NotifyAll();
  }
  consensus_.join();
}

template <typename Q, typename R, typename Run>
void AbciService::InTurn(rpc::Call& call, const Q& request, rpc::Reply<R> reply,
                         Run run) {
  // The call and its request live until the reply is sent. std::function wants
  // what it holds to be copyable, so the reply is shared with nobody.
  auto unsent = std::make_shared<rpc::Reply<R>>(std::move(reply));
  std::function<void()> turn = [this, &call, &request, unsent, run] {
    if (call.is_cancelled()) {
      return unsent->Send(absl::CancelledError("nobody waits for the answer"));
    }
    unsent->Send(RunNext<R>(request, run));
  };
  if (Enqueue(turn)) return;
  unsent->Send(absl::ResourceExhaustedError(
      absl::StrCat(kMaxWaiting,
                   " consensus calls wait already, of the one that each node "
                   "may have")));
}

template <typename R, typename Q, typename Run>
absl::StatusOr<R> AbciService::RunNext(const Q& request, Run run) {
  TANDEM_RETURN_IF_ERROR(order_.MayRun(request));
  absl::StatusOr<R> answer = run(request);
  if (answer.ok()) {
    if (absl::Status status = CheckAnswer(request, *answer); !status.ok()) {
      answer = std::move(status);
    }
  }
  order_.HasRun(request, answer.ok());
  return answer;
}

bool AbciService::Enqueue(std::function<void()>& turn) {
  rpc::MutexLock lock(mu_);
  if (waiting_.size() >= kMaxWaiting) return false;
  waiting_.push_back(std::move(turn));
  mu_.NotifyAll();
  return true;
}

void AbciService::TakeTurns() {
  while (true) {
    std::function<void()> turn;
    {
      rpc::MutexLock lock(mu_);
      mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return stopping_ || !waiting_.empty();
      });
      if (waiting_.empty()) return;
      turn = std::move(waiting_.front());
      waiting_.pop_front();
    }
    turn();
  }
}

absl::StatusOr<abci::ResponseEcho> AbciService::Echo(
    rpc::Call& call, const abci::RequestEcho& request) {
  abci::ResponseEcho echo;
  echo.set_message(request.message());
  return echo;
}

absl::StatusOr<abci::ResponseFlush> AbciService::Flush(
    rpc::Call& call, const abci::RequestFlush& request) {
  return abci::ResponseFlush();
}

absl::StatusOr<abci::ResponseInfo> AbciService::Info(
    rpc::Call& call, const abci::RequestInfo& request) {
  return application_.Info(request);
}

absl::StatusOr<abci::ResponseQuery> AbciService::Query(
    rpc::Call& call, const abci::RequestQuery& request) {
  return application_.Query(request);
}

absl::StatusOr<abci::ResponseCheckTx> AbciService::CheckTx(
    rpc::Call& call, const abci::RequestCheckTx& request) {
  return application_.CheckTx(request);
}

absl::StatusOr<abci::ResponseInsertTx> AbciService::InsertTx(
    rpc::Call& call, const abci::RequestInsertTx& request) {
  return application_.InsertTx(request);
}

absl::StatusOr<abci::ResponseReapTxs> AbciService::ReapTxs(
    rpc::Call& call, const abci::RequestReapTxs& request) {
  return application_.ReapTxs(request);
}

absl::StatusOr<abci::ResponseListSnapshots> AbciService::ListSnapshots(
    rpc::Call& call, const abci::RequestListSnapshots& request) {
  return application_.ListSnapshots(request);
}

absl::StatusOr<abci::ResponseLoadSnapshotChunk> AbciService::LoadSnapshotChunk(
    rpc::Call& call, const abci::RequestLoadSnapshotChunk& request) {
  return application_.LoadSnapshotChunk(request);
}

void AbciService::InitChain(rpc::Call& call,
                            const abci::RequestInitChain& request,
                            rpc::Reply<abci::ResponseInitChain> reply) {
  InTurn(call, request, std::move(reply),
         [this](const auto& q) { return application_.InitChain(q); });
}

void AbciService::PrepareProposal(
    rpc::Call& call, const abci::RequestPrepareProposal& request,
    rpc::Reply<abci::ResponsePrepareProposal> reply) {
  InTurn(call, request, std::move(reply),
         [this](const auto& q) { return application_.PrepareProposal(q); });
}

void AbciService::ProcessProposal(
    rpc::Call& call, const abci::RequestProcessProposal& request,
    rpc::Reply<abci::ResponseProcessProposal> reply) {
  InTurn(call, request, std::move(reply),
         [this](const auto& q) { return application_.ProcessProposal(q); });
}

void AbciService::ExtendVote(rpc::Call& call,
                             const abci::RequestExtendVote& request,
                             rpc::Reply<abci::ResponseExtendVote> reply) {
  InTurn(call, request, std::move(reply),
         [this](const auto& q) { return application_.ExtendVote(q); });
}

void AbciService::VerifyVoteExtension(
    rpc::Call& call, const abci::RequestVerifyVoteExtension& request,
    rpc::Reply<abci::ResponseVerifyVoteExtension> reply) {
  InTurn(call, request, std::move(reply),
         [this](const auto& q) { return application_.VerifyVoteExtension(q); });
}

void AbciService::FinalizeBlock(rpc::Call& call,
                                const abci::RequestFinalizeBlock& request,
                                rpc::Reply<abci::ResponseFinalizeBlock> reply) {
  InTurn(call, request, std::move(reply),
         [this](const auto& q) { return application_.FinalizeBlock(q); });
}

void AbciService::Commit(rpc::Call& call, const abci::RequestCommit& request,
                         rpc::Reply<abci::ResponseCommit> reply) {
  InTurn(call, request, std::move(reply),
         [this](const auto& q) { return application_.Commit(q); });
}

void AbciService::OfferSnapshot(rpc::Call& call,
                                const abci::RequestOfferSnapshot& request,
                                rpc::Reply<abci::ResponseOfferSnapshot> reply) {
  InTurn(call, request, std::move(reply),
         [this](const auto& q) { return application_.OfferSnapshot(q); });
}

void AbciService::ApplySnapshotChunk(
    rpc::Call& call, const abci::RequestApplySnapshotChunk& request,
    rpc::Reply<abci::ResponseApplySnapshotChunk> reply) {
  InTurn(call, request, std::move(reply),
         [this](const auto& q) { return application_.ApplySnapshotChunk(q); });
}

}  // namespace tandem::app

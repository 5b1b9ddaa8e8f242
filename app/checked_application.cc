#include "app/checked_application.h"

#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace tandem::app {

using ::tandem::abci::CallRecorder;
using ::tandem::abci::Violation;

namespace {

CallRecorder::Sink Recording(::tandem::abci::TraceWriter* record) {
  if (record != nullptr) return WriteTo(*record);
  return [](const ::tandem::abci::v1::TraceRecord&) {};
}

}  // namespace

CheckedApplication::CheckedApplication(Application& application,
                                       std::string program, Options options)
    : application_(application),
      options_(options),
      recorder_(std::move(program),
                [this, write = Recording(options.record)](
                    const ::tandem::abci::v1::TraceRecord& record) {
                  write(record);
                  checker_.Take(record);
                }) {}

std::string CheckedApplication::Broken() {
  std::string all;
  for (const Violation& violation : checker_.TakeViolations()) {
    const std::string what = absl::StrCat(violation.rule, ": ", violation.what);
    spdlog::error("Against the app contract (record {}): {}", violation.record,
                  what);
    absl::StrAppend(&all, all.empty() ? "" : "; ", what);
  }
  return all;
}

template <typename Response, typename Request, typename Call>
absl::StatusOr<Response> CheckedApplication::Watched(const Request& request,
                                                     Call call) {
  std::uint64_t number = 0;
  std::string broken;
  {
    rpc::MutexLock lock(mu_);
    number = recorder_.Began(0, request);
    broken = Broken();
  }
  absl::StatusOr<Response> answer;
  if (options_.refuse && !broken.empty()) {
    answer = absl::FailedPreconditionError(
        absl::StrCat("against the app contract: ", broken));
  } else {
    answer = call();
  }
  rpc::MutexLock lock(mu_);
  recorder_.Ended(number, answer);
  broken = Broken();
  if (!options_.refuse || broken.empty() || !answer.ok()) return answer;
  return absl::InternalError(
      absl::StrCat("the application is against the app contract: ", broken));
}

absl::StatusOr<abci::ResponseInitChain> CheckedApplication::InitChain(
    const abci::RequestInitChain& request) {
  return Watched<abci::ResponseInitChain>(
      request, [&] { return application_.InitChain(request); });
}

absl::StatusOr<abci::ResponsePrepareProposal>
CheckedApplication::PrepareProposal(
    const abci::RequestPrepareProposal& request) {
  return Watched<abci::ResponsePrepareProposal>(
      request, [&] { return application_.PrepareProposal(request); });
}

absl::StatusOr<abci::ResponseProcessProposal>
CheckedApplication::ProcessProposal(
    const abci::RequestProcessProposal& request) {
  return Watched<abci::ResponseProcessProposal>(
      request, [&] { return application_.ProcessProposal(request); });
}

absl::StatusOr<abci::ResponseExtendVote> CheckedApplication::ExtendVote(
    const abci::RequestExtendVote& request) {
  return Watched<abci::ResponseExtendVote>(
      request, [&] { return application_.ExtendVote(request); });
}

absl::StatusOr<abci::ResponseVerifyVoteExtension>
CheckedApplication::VerifyVoteExtension(
    const abci::RequestVerifyVoteExtension& request) {
  return Watched<abci::ResponseVerifyVoteExtension>(
      request, [&] { return application_.VerifyVoteExtension(request); });
}

absl::StatusOr<abci::ResponseFinalizeBlock> CheckedApplication::FinalizeBlock(
    const abci::RequestFinalizeBlock& request) {
  return Watched<abci::ResponseFinalizeBlock>(
      request, [&] { return application_.FinalizeBlock(request); });
}

absl::StatusOr<abci::ResponseCommit> CheckedApplication::Commit(
    const abci::RequestCommit& request) {
  return Watched<abci::ResponseCommit>(
      request, [&] { return application_.Commit(request); });
}

absl::StatusOr<abci::ResponseOfferSnapshot> CheckedApplication::OfferSnapshot(
    const abci::RequestOfferSnapshot& request) {
  return Watched<abci::ResponseOfferSnapshot>(
      request, [&] { return application_.OfferSnapshot(request); });
}

absl::StatusOr<abci::ResponseApplySnapshotChunk>
CheckedApplication::ApplySnapshotChunk(
    const abci::RequestApplySnapshotChunk& request) {
  return Watched<abci::ResponseApplySnapshotChunk>(
      request, [&] { return application_.ApplySnapshotChunk(request); });
}

absl::StatusOr<abci::ResponseInfo> CheckedApplication::Info(
    const abci::RequestInfo& request) {
  return Watched<abci::ResponseInfo>(
      request, [&] { return application_.Info(request); });
}

absl::StatusOr<abci::ResponseQuery> CheckedApplication::Query(
    const abci::RequestQuery& request) {
  return Watched<abci::ResponseQuery>(
      request, [&] { return application_.Query(request); });
}

absl::StatusOr<abci::ResponseCheckTx> CheckedApplication::CheckTx(
    const abci::RequestCheckTx& request) {
  return Watched<abci::ResponseCheckTx>(
      request, [&] { return application_.CheckTx(request); });
}

absl::StatusOr<abci::ResponseInsertTx> CheckedApplication::InsertTx(
    const abci::RequestInsertTx& request) {
  return Watched<abci::ResponseInsertTx>(
      request, [&] { return application_.InsertTx(request); });
}

absl::StatusOr<abci::ResponseReapTxs> CheckedApplication::ReapTxs(
    const abci::RequestReapTxs& request) {
  return Watched<abci::ResponseReapTxs>(
      request, [&] { return application_.ReapTxs(request); });
}

absl::StatusOr<abci::ResponseListSnapshots> CheckedApplication::ListSnapshots(
    const abci::RequestListSnapshots& request) {
  return Watched<abci::ResponseListSnapshots>(
      request, [&] { return application_.ListSnapshots(request); });
}

absl::StatusOr<abci::ResponseLoadSnapshotChunk>
CheckedApplication::LoadSnapshotChunk(
    const abci::RequestLoadSnapshotChunk& request) {
  return Watched<abci::ResponseLoadSnapshotChunk>(
      request, [&] { return application_.LoadSnapshotChunk(request); });
}

}  // namespace tandem::app

// An Application whose calls are held against the app contract.

#ifndef TANDEM_APP_CHECKED_APPLICATION_H_
#define TANDEM_APP_CHECKED_APPLICATION_H_

#include <string>

#include "app/application.h"
#include "proto/abci/call_recorder.h"
#include "proto/abci/contract_checker.h"
#include "proto/abci/trace_file.h"
#include "rpc/base/mutex.h"

namespace tandem::app {

// Stands before an Application, under AbciService, and watches what the node
// asks and what the Application answers. What is against the rules of
// proto/PROTOCOL.md is logged with the rule's number. For tests, and for who
// looks for a fault: it costs a copy of each message.
//
// Errors: those of the Application. With `refuse`, besides:
//   kFailedPrecondition the node broke a rule; the Application was not called
//   kInternal           the Application's answer breaks one
//
// Thread safety: as Application.
class CheckedApplication final : public Application {
 public:
  struct Options {
    // Whether a call that breaks a rule fails.
    bool refuse = false;
    // Where the trace goes; may be null.
    ::tandem::abci::TraceWriter* record = nullptr;
  };

  // `program` is named in the trace. `application`, and what `options` names,
  // outlive it.
  CheckedApplication(Application& application, std::string program,
                     Options options);

  absl::StatusOr<abci::ResponseInitChain> InitChain(
      const abci::RequestInitChain& request) override;
  absl::StatusOr<abci::ResponsePrepareProposal> PrepareProposal(
      const abci::RequestPrepareProposal& request) override;
  absl::StatusOr<abci::ResponseProcessProposal> ProcessProposal(
      const abci::RequestProcessProposal& request) override;
  absl::StatusOr<abci::ResponseExtendVote> ExtendVote(
      const abci::RequestExtendVote& request) override;
  absl::StatusOr<abci::ResponseVerifyVoteExtension> VerifyVoteExtension(
      const abci::RequestVerifyVoteExtension& request) override;
  absl::StatusOr<abci::ResponseFinalizeBlock> FinalizeBlock(
      const abci::RequestFinalizeBlock& request) override;
  absl::StatusOr<abci::ResponseCommit> Commit(
      const abci::RequestCommit& request) override;
  absl::StatusOr<abci::ResponseOfferSnapshot> OfferSnapshot(
      const abci::RequestOfferSnapshot& request) override;
  absl::StatusOr<abci::ResponseApplySnapshotChunk> ApplySnapshotChunk(
      const abci::RequestApplySnapshotChunk& request) override;
  absl::StatusOr<abci::ResponseInfo> Info(
      const abci::RequestInfo& request) override;
  absl::StatusOr<abci::ResponseQuery> Query(
      const abci::RequestQuery& request) override;
  absl::StatusOr<abci::ResponseCheckTx> CheckTx(
      const abci::RequestCheckTx& request) override;
  absl::StatusOr<abci::ResponseInsertTx> InsertTx(
      const abci::RequestInsertTx& request) override;
  absl::StatusOr<abci::ResponseReapTxs> ReapTxs(
      const abci::RequestReapTxs& request) override;
  absl::StatusOr<abci::ResponseListSnapshots> ListSnapshots(
      const abci::RequestListSnapshots& request) override;
  absl::StatusOr<abci::ResponseLoadSnapshotChunk> LoadSnapshotChunk(
      const abci::RequestLoadSnapshotChunk& request) override;

 private:
  // Gives the call to the Application, by `call`.
  template <typename Response, typename Request, typename Call>
  absl::StatusOr<Response> Watched(const Request& request, Call call)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Logs what the recorder's last record broke, and says it; empty if nothing.
  std::string Broken() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Application& application_;
  const Options options_;

  // Held while a call's begin, or its end, is told and judged: what is found
  // then is that call's. Before the recorder's own lock.
  rpc::Mutex mu_;
  ::tandem::abci::ContractChecker checker_;
  ::tandem::abci::CallRecorder recorder_;
};

}  // namespace tandem::app

#endif  // TANDEM_APP_CHECKED_APPLICATION_H_

// Serves an Application as tendermint.abci.ABCI, on any wire.

#ifndef TANDEM_APP_ABCI_SERVICE_H_
#define TANDEM_APP_ABCI_SERVICE_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>

#include "absl/status/statusor.h"
#include "app/application.h"
#include "app/call_order.h"
#include "rpc/base/mutex.h"
#include "rpc/server/call.h"
#include "rpc/server/reply.h"
#include "tendermint/abci/types.tandem.h"

namespace tandem::app {

// Keeps the Application's threading contract whatever clients do: consensus
// calls run one at a time, in the order in which they came, on a thread of the
// service's own; the others run where the server runs them. So a FinalizeBlock
// that takes long keeps neither a worker of the server nor a query waiting.
//
// A consensus call whose client has gone before its turn is not run, nor is one
// that is not the chain's next (CallOrder).
//
// Errors: those of the Application, unchanged. Besides:
//   kFailedPrecondition the call is not the chain's next
//   kResourceExhausted  kMaxWaiting consensus calls wait already
//   kCancelled          the client went before its turn came
//   kInternal           the Application answered what no node can use: another
//                       number of results than transactions, the status
//                       UNKNOWN, a proposal larger than was asked for
//
// Lifecycle: the Application outlives the service, the service outlives the
// server. The destructor waits for the running consensus call.
// Thread safety: thread-safe.
class AbciService final : public abci::ABCIHandler {
 public:
  // A node has one consensus call in flight; more come from tools and from
  // nodes that have given up waiting.
  static constexpr std::size_t kMaxWaiting = 64;

  explicit AbciService(Application& application);
  ~AbciService() override;

  absl::StatusOr<abci::ResponseEcho> Echo(
      rpc::Call& call, const abci::RequestEcho& request) override;
  absl::StatusOr<abci::ResponseFlush> Flush(
      rpc::Call& call, const abci::RequestFlush& request) override;
  absl::StatusOr<abci::ResponseInfo> Info(
      rpc::Call& call, const abci::RequestInfo& request) override;
  absl::StatusOr<abci::ResponseQuery> Query(
      rpc::Call& call, const abci::RequestQuery& request) override;
  absl::StatusOr<abci::ResponseCheckTx> CheckTx(
      rpc::Call& call, const abci::RequestCheckTx& request) override;
  absl::StatusOr<abci::ResponseInsertTx> InsertTx(
      rpc::Call& call, const abci::RequestInsertTx& request) override;
  absl::StatusOr<abci::ResponseReapTxs> ReapTxs(
      rpc::Call& call, const abci::RequestReapTxs& request) override;
  absl::StatusOr<abci::ResponseListSnapshots> ListSnapshots(
      rpc::Call& call, const abci::RequestListSnapshots& request) override;
  absl::StatusOr<abci::ResponseLoadSnapshotChunk> LoadSnapshotChunk(
      rpc::Call& call, const abci::RequestLoadSnapshotChunk& request) override;

  void InitChain(rpc::Call& call, const abci::RequestInitChain& request,
                 rpc::Reply<abci::ResponseInitChain> reply) override;
  void PrepareProposal(
      rpc::Call& call, const abci::RequestPrepareProposal& request,
      rpc::Reply<abci::ResponsePrepareProposal> reply) override;
  void ProcessProposal(
      rpc::Call& call, const abci::RequestProcessProposal& request,
      rpc::Reply<abci::ResponseProcessProposal> reply) override;
  void ExtendVote(rpc::Call& call, const abci::RequestExtendVote& request,
                  rpc::Reply<abci::ResponseExtendVote> reply) override;
  void VerifyVoteExtension(
      rpc::Call& call, const abci::RequestVerifyVoteExtension& request,
      rpc::Reply<abci::ResponseVerifyVoteExtension> reply) override;
  void FinalizeBlock(rpc::Call& call, const abci::RequestFinalizeBlock& request,
                     rpc::Reply<abci::ResponseFinalizeBlock> reply) override;
  void Commit(rpc::Call& call, const abci::RequestCommit& request,
              rpc::Reply<abci::ResponseCommit> reply) override;
  void OfferSnapshot(rpc::Call& call, const abci::RequestOfferSnapshot& request,
                     rpc::Reply<abci::ResponseOfferSnapshot> reply) override;
  void ApplySnapshotChunk(
      rpc::Call& call, const abci::RequestApplySnapshotChunk& request,
      rpc::Reply<abci::ResponseApplySnapshotChunk> reply) override;

 private:
  // Queues `run`, an Application's method or what stands for it.
  template <typename Q, typename R, typename Run>
  void InTurn(rpc::Call& call, const Q& request, rpc::Reply<R> reply, Run run);

  // Runs it, if it may be the next; on consensus_.
  template <typename R, typename Q, typename Run>
  absl::StatusOr<R> RunNext(const Q& request, Run run);

  // False, and `turn` unchanged, when too many wait.
  bool Enqueue(std::function<void()>& turn) ABSL_LOCKS_EXCLUDED(mu_);

  // The thread: takes one turn after the other.
  void TakeTurns() ABSL_LOCKS_EXCLUDED(mu_);

  Application& application_;
  CallOrder order_;  // of consensus_ alone

  rpc::Mutex mu_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  std::thread consensus_;  // Last: uses what is above.
};

}  // namespace tandem::app

#endif  // TANDEM_APP_ABCI_SERVICE_H_

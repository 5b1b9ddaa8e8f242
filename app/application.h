// The state and its rules, as a node drives them: what an app implements.

#ifndef TANDEM_APP_APPLICATION_H_
#define TANDEM_APP_APPLICATION_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::app {

namespace abci = ::tendermint::abci;

// What a block may hold when an engine with small message limits drives the app
// (proto/PROTOCOL.md): CometBFT's gRPC client takes answers of at most 4 MiB.
inline constexpr std::size_t kMaxProposalBytes = (4 << 20) - (64 << 10);

// One replicated state machine. Override what the app has; the rest accepts
// everything and stores nothing.
//
// A node sends Info; InitChain if nothing is committed; then for each block any
// number of proposals and vote extensions, FinalizeBlock and Commit. It relies
// on three promises:
//
//  - Commit answers once the block is durable, whole: after a crash the app has
//    all of a block or nothing of it.
//  - Info and Query tell committed state only. What FinalizeBlock staged is
//    dropped by the next FinalizeBlock and by a restart.
//  - FinalizeBlock is deterministic: the same blocks give the same results and
//    the same app hash on every machine.
//
// Errors: an answer with a code that is not 0 refuses one transaction or query.
// A status that is not OK refuses the call itself, and from the calls below it
// stops the chain: kFailedPrecondition when the node is at another point of the
// chain than the app, kInvalidArgument for a request that can never be served.
//
// Thread safety: consensus calls come one at a time, maybe on different
// threads, each after the answer to the one before. The concurrent calls come
// on any thread, many at once and beside a consensus call; they read committed
// state.
class Application {
 public:
  virtual ~Application() = default;

  // --- Consensus calls: one at a time. ---

  // Begins the chain. May come again while nothing is committed. An answer
  // without validators or parameters keeps those of the request.
  virtual absl::StatusOr<abci::ResponseInitChain> InitChain(
      const abci::RequestInitChain& request);

  // Chooses the transactions of a proposed block, at most
  // request.max_tx_bytes() as proto/abci/block_bytes.h counts. Changes nothing.
  // By default: as many of the given ones as fit, in their order.
  virtual absl::StatusOr<abci::ResponsePrepareProposal> PrepareProposal(
      const abci::RequestPrepareProposal& request);

  // Accepts or rejects a proposed block. Changes nothing. By default: accepts.
  virtual absl::StatusOr<abci::ResponseProcessProposal> ProcessProposal(
      const abci::RequestProcessProposal& request);

  // Adds bytes to our vote, and accepts or rejects those of others. Change
  // nothing. By default: no bytes; accepts.
  virtual absl::StatusOr<abci::ResponseExtendVote> ExtendVote(
      const abci::RequestExtendVote& request);
  virtual absl::StatusOr<abci::ResponseVerifyVoteExtension> VerifyVoteExtension(
      const abci::RequestVerifyVoteExtension& request);

  // Executes a block and stages its effects: one result for each transaction,
  // and the hash of the state with the block. By default: every transaction is
  // OK.
  virtual absl::StatusOr<abci::ResponseFinalizeBlock> FinalizeBlock(
      const abci::RequestFinalizeBlock& request);

  // Makes the staged block durable, then answers.
  virtual absl::StatusOr<abci::ResponseCommit> Commit(
      const abci::RequestCommit& request);

  // Take over another's state instead of blocks. By default: give up.
  virtual absl::StatusOr<abci::ResponseOfferSnapshot> OfferSnapshot(
      const abci::RequestOfferSnapshot& request);
  virtual absl::StatusOr<abci::ResponseApplySnapshotChunk> ApplySnapshotChunk(
      const abci::RequestApplySnapshotChunk& request);

  // --- Concurrent calls: any number, beside a consensus call. ---

  // The last committed height and app hash. By default: nothing is committed.
  virtual absl::StatusOr<abci::ResponseInfo> Info(
      const abci::RequestInfo& request);

  // Reads committed state. By default: kUnimplemented.
  virtual absl::StatusOr<abci::ResponseQuery> Query(
      const abci::RequestQuery& request);

  // Whether a transaction may enter the pool. By default: it may.
  virtual absl::StatusOr<abci::ResponseCheckTx> CheckTx(
      const abci::RequestCheckTx& request);

  // The pool, for apps that keep it. By default: kUnimplemented.
  virtual absl::StatusOr<abci::ResponseInsertTx> InsertTx(
      const abci::RequestInsertTx& request);
  virtual absl::StatusOr<abci::ResponseReapTxs> ReapTxs(
      const abci::RequestReapTxs& request);

  // Hand out copies of the state. By default: there are none.
  virtual absl::StatusOr<abci::ResponseListSnapshots> ListSnapshots(
      const abci::RequestListSnapshots& request);
  virtual absl::StatusOr<abci::ResponseLoadSnapshotChunk> LoadSnapshotChunk(
      const abci::RequestLoadSnapshotChunk& request);
};

}  // namespace tandem::app

#endif  // TANDEM_APP_APPLICATION_H_

#include "app/application.h"

#include <algorithm>

#include "proto/abci/block_bytes.h"

namespace tandem::app {

absl::StatusOr<abci::ResponseInitChain> Application::InitChain(
    const abci::RequestInitChain& request) {
  return abci::ResponseInitChain();
}

absl::StatusOr<abci::ResponsePrepareProposal> Application::PrepareProposal(
    const abci::RequestPrepareProposal& request) {
  abci::ResponsePrepareProposal proposal;
  const std::int64_t room =
      std::min<std::int64_t>(request.max_tx_bytes(), kMaxProposalBytes);
  std::int64_t taken = 0;
  for (const std::string& tx : request.txs()) {
    const std::int64_t bytes = ::tandem::abci::BytesInBlock(tx.size());
    if (bytes > room) continue;  // It fits in no block, and holds up nobody.
    if (taken + bytes > room) break;
    taken += bytes;
    proposal.add_txs(tx);
  }
  return proposal;
}

absl::StatusOr<abci::ResponseProcessProposal> Application::ProcessProposal(
    const abci::RequestProcessProposal& request) {
  abci::ResponseProcessProposal verdict;
  verdict.set_status(abci::ResponseProcessProposal::ACCEPT);
  return verdict;
}

absl::StatusOr<abci::ResponseExtendVote> Application::ExtendVote(
    const abci::RequestExtendVote& request) {
  return abci::ResponseExtendVote();
}

absl::StatusOr<abci::ResponseVerifyVoteExtension>
Application::VerifyVoteExtension(
    const abci::RequestVerifyVoteExtension& request) {
  abci::ResponseVerifyVoteExtension verdict;
  verdict.set_status(abci::ResponseVerifyVoteExtension::ACCEPT);
  return verdict;
}

absl::StatusOr<abci::ResponseFinalizeBlock> Application::FinalizeBlock(
    const abci::RequestFinalizeBlock& request) {
  abci::ResponseFinalizeBlock block;
  for (int i = 0; i < request.txs_size(); ++i) block.add_tx_results();
  return block;
}

absl::StatusOr<abci::ResponseCommit> Application::Commit(
    const abci::RequestCommit& request) {
  return abci::ResponseCommit();
}

absl::StatusOr<abci::ResponseOfferSnapshot> Application::OfferSnapshot(
    const abci::RequestOfferSnapshot& request) {
  abci::ResponseOfferSnapshot verdict;
  verdict.set_result(abci::ResponseOfferSnapshot::ABORT);
  return verdict;
}

absl::StatusOr<abci::ResponseApplySnapshotChunk>
Application::ApplySnapshotChunk(
    const abci::RequestApplySnapshotChunk& request) {
  abci::ResponseApplySnapshotChunk verdict;
  verdict.set_result(abci::ResponseApplySnapshotChunk::ABORT);
  return verdict;
}

absl::StatusOr<abci::ResponseInfo> Application::Info(
    const abci::RequestInfo& request) {
  return abci::ResponseInfo();
}

absl::StatusOr<abci::ResponseQuery> Application::Query(
    const abci::RequestQuery& request) {
  return absl::UnimplementedError("this application answers no queries");
}

absl::StatusOr<abci::ResponseCheckTx> Application::CheckTx(
    const abci::RequestCheckTx& request) {
  return abci::ResponseCheckTx();
}

absl::StatusOr<abci::ResponseInsertTx> Application::InsertTx(
    const abci::RequestInsertTx& request) {
  return absl::UnimplementedError(
      "this application keeps no pool of transactions: leave them to the "
      "node's");
}

absl::StatusOr<abci::ResponseReapTxs> Application::ReapTxs(
    const abci::RequestReapTxs& request) {
  return absl::UnimplementedError(
      "this application keeps no pool of transactions: leave them to the "
      "node's");
}

absl::StatusOr<abci::ResponseListSnapshots> Application::ListSnapshots(
    const abci::RequestListSnapshots& request) {
  return abci::ResponseListSnapshots();
}

absl::StatusOr<abci::ResponseLoadSnapshotChunk> Application::LoadSnapshotChunk(
    const abci::RequestLoadSnapshotChunk& request) {
  return abci::ResponseLoadSnapshotChunk();
}

}  // namespace tandem::app

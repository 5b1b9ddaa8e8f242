// Which consensus call may come next.

#ifndef TANDEM_APP_CALL_ORDER_H_
#define TANDEM_APP_CALL_ORDER_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "app/application.h"

namespace tandem::app {

// Stands before an Application's consensus calls and keeps a node that is at
// another point of the chain from changing its state:
//
//   InitChain        only while nothing is committed
//   proposals,       only of the height after the committed one; of the chain's
//   ExtendVote,      initial height after InitChain; not before InitChain while
//   FinalizeBlock    nothing is committed
//   Commit           only after a FinalizeBlock that was answered well, with no
//                    other consensus call between
//
// Height 0 is for tools such as abci-cli, which begin no chain: in any order,
// as long as nothing is committed and there was no InitChain.
//
// What is committed it asks the Application once (Info), and again when it
// cannot know: after a Commit that failed, after snapshots.
//
// Thread safety: thread-compatible; used between consensus calls, of which
// there is one at a time.
class CallOrder {
 public:
  // `application` must outlive it.
  explicit CallOrder(Application& application) : application_(application) {}

  // Whether a call may be given to the Application now. Errors:
  // kFailedPrecondition, which says what would be next; those of Info.
  absl::Status MayRun(const abci::RequestInitChain& request);
  absl::Status MayRun(const abci::RequestPrepareProposal& request) {
    return MayBeOf("PrepareProposal", request.height());
  }
  absl::Status MayRun(const abci::RequestProcessProposal& request) {
    return MayBeOf("ProcessProposal", request.height());
  }
  absl::Status MayRun(const abci::RequestExtendVote& request) {
    return MayBeOf("ExtendVote", request.height());
  }
  absl::Status MayRun(const abci::RequestFinalizeBlock& request) {
    return MayBeOf("FinalizeBlock", request.height());
  }
  absl::Status MayRun(const abci::RequestCommit& request) const;
  // Votes of others may be late; snapshots replace what is committed.
  absl::Status MayRun(const abci::RequestVerifyVoteExtension& request) const {
    return absl::OkStatus();
  }
  absl::Status MayRun(const abci::RequestOfferSnapshot& request) const {
    return absl::OkStatus();
  }
  absl::Status MayRun(const abci::RequestApplySnapshotChunk& request) const {
    return absl::OkStatus();
  }

  // The call was given to the Application, and answered well or not.
  void HasRun(const abci::RequestInitChain& request, bool well);
  void HasRun(const abci::RequestFinalizeBlock& request, bool well);
  void HasRun(const abci::RequestCommit& request, bool well);
  void HasRun(const abci::RequestApplySnapshotChunk& request, bool well);
  template <typename Other>
  void HasRun(const Other& request, bool well) {
    staged_.reset();
  }

 private:
  absl::Status MayBeOf(std::string_view call, std::int64_t height);
  // Asks what is committed, unless that is known.
  absl::Status Learn();
  // The height of the next block; none while no chain has begun.
  std::optional<std::int64_t> Next() const;

  Application& application_;
  std::optional<std::int64_t> committed_;
  // Of InitChain, while nothing is committed.
  std::optional<std::int64_t> initial_;
  // Of the FinalizeBlock that came last.
  std::optional<std::int64_t> staged_;
};

}  // namespace tandem::app

#endif  // TANDEM_APP_CALL_ORDER_H_

#include "app/call_order.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"

namespace tandem::app {

absl::Status CallOrder::MayRun(const abci::RequestInitChain& request) {
  TANDEM_RETURN_IF_ERROR(Learn());
  if (request.initial_height() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("InitChain: the initial height ", request.initial_height(),
                     " is negative"));
  }
  if (*committed_ == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("InitChain: this application has committed height ",
                   *committed_, " already: give the new chain a new state"));
}

absl::Status CallOrder::MayRun(const abci::RequestCommit& request) const {
  if (staged_) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "Commit: no FinalizeBlock came before it since this program started, or "
      "since the last Commit",
      committed_ ? absl::StrCat("; height ", *committed_, " is committed") : "",
      ": send FinalizeBlock first"));
}

absl::Status CallOrder::MayBeOf(std::string_view call, std::int64_t height) {
  TANDEM_RETURN_IF_ERROR(Learn());
  const std::optional<std::int64_t> next = Next();
  if (height == next.value_or(0)) return absl::OkStatus();
  const std::string what =
      absl::StrCat(std::string(call), " of height ", height, ": ");
  if (!next) {
    return absl::FailedPreconditionError(absl::StrCat(
        what,
        "nothing is committed, and no chain has begun since this program "
        "started. The node must begin with Info and InitChain: restart it; if "
        "the chain had blocks here, this is not its state"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      what, "height ", *committed_, " is committed, so the next is ", *next,
      ". The node must begin with Info: restart it"));
}

void CallOrder::HasRun(const abci::RequestInitChain& request, bool well) {
  staged_.reset();
  if (well) initial_ = std::max<std::int64_t>(request.initial_height(), 1);
}

void CallOrder::HasRun(const abci::RequestFinalizeBlock& request, bool well) {
  staged_.reset();
  if (well) staged_ = request.height();
}

void CallOrder::HasRun(const abci::RequestCommit& request, bool well) {
  const std::optional<std::int64_t> height =
      std::exchange(staged_, std::nullopt);
  committed_ = well ? height : std::nullopt;
}

void CallOrder::HasRun(const abci::RequestApplySnapshotChunk& request,
                       bool well) {
  staged_.reset();
  committed_.reset();
}

absl::Status CallOrder::Learn() {
  if (committed_) return absl::OkStatus();
  TANDEM_ASSIGN_OR_RETURN(const abci::ResponseInfo info, application_.Info({}));
  if (info.last_block_height() < 0) {
    return absl::InternalError(
        absl::StrCat("the application's Info says that height ",
                     info.last_block_height(), " is committed"));
  }
  committed_ = info.last_block_height();
  return absl::OkStatus();
}

std::optional<std::int64_t> CallOrder::Next() const {
  if (*committed_ > 0) return *committed_ + 1;
  return initial_;
}

}  // namespace tandem::app

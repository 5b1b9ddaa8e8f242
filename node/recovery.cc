#include "node/recovery.h"

#include <cstdint>
#include <future>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "node/block.h"
#include "rpc/base/hex.h"
#include "rpc/base/status_macros.h"
#include "spdlog/spdlog.h"

namespace tandem::node {
namespace {

using rpc::HexOrNone;
using tendermint::abci::ResponseInfo;

// What is compared.
struct Heights {
  std::int64_t app;      // A
  std::int64_t store;    // S
  std::int64_t state;    // T
  std::int64_t base;     // the oldest block in the store
  std::int64_t initial;  // I

  // The block after `height`.
  std::int64_t After(std::int64_t height) const {
    return height == 0 ? initial : height + 1;
  }
};

absl::Status CheckStore(const Heights& at) {
  if (at.store == at.state || at.store == at.After(at.state)) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      absl::StrCat("the block store is broken: its last block is ", at.store,
                   ", its state that of block ", at.state));
}

absl::Status CheckApp(const Heights& at) {
  if (at.app < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the application says it is at height ", at.app));
  }
  if (at.app > 0 && at.store == 0) {
    return absl::AbortedError(absl::StrCat(
        "the application is at height ", at.app,
        ", this node has no blocks yet: give the node the data directory that "
        "belongs to the application, or start the application with an empty "
        "one"));
  }
  if (at.app > at.store) {
    return absl::AbortedError(absl::StrCat(
        "the application is ahead of the node: it is at height ", at.app,
        ", the node's last block is ", at.store,
        ": give the application the data directory that belongs to this node, "
        "or roll it back to height ",
        at.store, " or less"));
  }
  if (at.base > 0 && at.After(at.app) < at.base) {
    return absl::AbortedError(absl::StrCat(
        "the application is at height ", at.app, ", and needs block ",
        at.After(at.app), "; the oldest that this node keeps is ", at.base,
        ": restore a younger state of the application"));
  }
  return absl::OkStatus();
}

// The app hash that the chain has after `height`.
absl::StatusOr<std::string> AppHashAfter(std::int64_t height, const Heights& at,
                                         const BlockStore& store,
                                         const ChainState& state) {
  if (height == at.state) return state.app_hash();
  if (height == at.store) {
    TANDEM_ASSIGN_OR_RETURN(auto response, store.LoadResponse(height));
    return response.app_hash();
  }
  TANDEM_ASSIGN_OR_RETURN(v1::Block next, store.LoadBlock(height + 1));
  return next.header().app_hash();
}

absl::Status CheckAppHash(const ResponseInfo& info, const Heights& at,
                          const BlockStore& store, const ChainState& state) {
  absl::StatusOr<std::string> expected = AppHashAfter(at.app, at, store, state);
  if (absl::IsNotFound(expected.status())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the application has committed block ", at.app,
        ", but this node has no record of what it answered: the application "
        "showed state that it had not committed, or another node drove it; "
        "restart the application"));
  }
  TANDEM_RETURN_IF_ERROR(expected.status());
  if (*expected == info.last_block_app_hash()) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat("the application is not that of this chain (",
                   state.chain_id(), "): at height ", at.app,
                   " its app hash is ", HexOrNone(info.last_block_app_hash()),
                   ", the chain's is ", HexOrNone(*expected),
                   ": check that both data directories belong together"));
}

// The heights, when node and application belong together.
absl::StatusOr<Heights> Compare(const ResponseInfo& info,
                                const BlockStore& store,
                                const ChainState& state) {
  TANDEM_ASSIGN_OR_RETURN(const std::int64_t last, store.LastHeight());
  const Heights at{.app = info.last_block_height(),
                   .store = last,
                   .state = state.height(),
                   .base = state.base_height(),
                   .initial = state.initial_height()};
  TANDEM_RETURN_IF_ERROR(CheckStore(at));
  TANDEM_RETURN_IF_ERROR(CheckApp(at));
  if (at.app > 0) {
    TANDEM_RETURN_IF_ERROR(CheckAppHash(info, at, store, state));
  }
  return at;
}

// The blocks that the application lacks, up to the state. One is read while the
// application executes the one before.
absl::Status Replay(const Heights& at, AppConnection& app,
                    const BlockStore& store, Executor& executor) {
  const auto read = [&store](std::int64_t height) {
    return std::async(std::launch::async,
                      [&store, height] { return store.LoadBlock(height); });
  };
  const std::int64_t first = at.After(at.app);
  if (first > at.state) return absl::OkStatus();
  auto next = read(first);
  for (std::int64_t height = first; height <= at.state; ++height) {
    TANDEM_ASSIGN_OR_RETURN(const v1::Block block, next.get());
    if (height < at.state) next = read(height + 1);
    TANDEM_RETURN_IF_ERROR(executor.Replay(app, block));
  }
  return absl::OkStatus();
}

absl::Status RecoverFrom(const ResponseInfo& info, AppConnection& app,
                         BlockStore& store, Executor& executor) {
  TANDEM_ASSIGN_OR_RETURN(const Heights at,
                          Compare(info, store, executor.state()));
  if (at.app == 0) {
    spdlog::info("The application is empty: starting the chain {} in it.",
                 executor.state().chain_id());
    TANDEM_RETURN_IF_ERROR(executor.InitChain(app, info.app_version()));
  }
  if (at.app < at.state) {
    spdlog::info("The application is at height {}: replaying blocks up to {}.",
                 at.app, at.state);
  }
  TANDEM_RETURN_IF_ERROR(Replay(at, app, store, executor));
  if (at.store == at.state) return absl::OkStatus();

  TANDEM_ASSIGN_OR_RETURN(v1::Block block, store.LoadBlock(at.store));
  TANDEM_RETURN_IF_ERROR(executor.CheckFollows(block));
  if (at.app == at.store) {
    spdlog::info("The application has committed block {} already.", at.store);
    return executor.ApplyCommitted(std::move(block));
  }
  spdlog::info("Block {} was not finished: applying it.", at.store);
  return executor.ApplySaved(app, std::move(block));
}

}  // namespace

absl::Status Recover(AppConnection& app, const ResponseInfo& info,
                     BlockStore& store, Executor& executor) {
  const absl::Status status = RecoverFrom(info, app, store, executor);
  if (!absl::IsAborted(status) && !absl::IsFailedPrecondition(status)) {
    return status;
  }
  TANDEM_ASSIGN_OR_RETURN(const ResponseInfo now, app.Info());
  if (now.last_block_height() == info.last_block_height()) return status;
  spdlog::info("The application moved from height {} to {}: comparing again.",
               info.last_block_height(), now.last_block_height());
  return RecoverFrom(now, app, store, executor);
}

absl::Status CheckAgreement(const ResponseInfo& info, const BlockStore& store,
                            const ChainState& state) {
  return Compare(info, store, state).status();
}

}  // namespace tandem::node

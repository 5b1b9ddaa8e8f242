// Makes blocks, shows them to the application, and makes what comes of it
// durable.

#ifndef TANDEM_NODE_EXECUTOR_H_
#define TANDEM_NODE_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "node/app_connection.h"
#include "node/block.h"
#include "node/block_store.h"
#include "node/genesis.h"
#include "node/mempool.h"
#include "node/validator_key.h"
#include "rpc/base/mutex.h"
#include "tandem/node/v1/node.pb.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::node {

// The durable steps of one block, in this order:
//   1. PrepareProposal, ProcessProposal
//   2. the block is saved
//   3. FinalizeBlock
//   4. the response is saved
//   5. Commit
//   6. the new state is saved
//   7. subscribers are told, clients that wait are told
// Each "saved" is on the disk before the next step begins. A crash between any
// two is put right by node/recovery.h.
//
// Errors of all methods that take an application:
//   kFailedPrecondition  the application answers what no application may, or
//                        what contradicts the chain; the message says what
//   kDataLoss            the store fails: the node must not go on
//   others               a call failed (AppConnection)
// After an error the application may hold a block that it has not committed:
// begin again with recovery.
//
// Thread safety: state() and all methods that take an application belong to one
// thread, the engine's. tip() is thread-safe.
class Executor {
 public:
  // Blocks as they are committed, each once, in order. Called by the engine's
  // thread, so it must return quickly.
  using OnCommitted =
      std::function<void(std::shared_ptr<const v1::CommittedBlock>)>;

  // What readers may know without asking the engine.
  struct Tip {
    std::int64_t height = 0;
    std::int64_t base_height = 0;
    std::string block_hash;
    std::string app_hash;
    google::protobuf::Timestamp time;
  };

  // Loads the state, or takes that of `genesis`, and tells the mempool what was
  // committed last. All arguments must outlive the object. Errors: kDataLoss.
  static absl::StatusOr<std::unique_ptr<Executor>> Create(
      BlockStore& store, Mempool& mempool, const Genesis& genesis,
      const ValidatorKey& key, OnCommitted on_committed);

  // The state after the last committed block.
  const ChainState& state() const { return state_; }
  Tip tip() const ABSL_LOCKS_EXCLUDED(mu_);

  // Starts the chain in an application that has none. Before the first block
  // its answer, and `app_version` from its Info, complete the state; later the
  // answer is not looked at: replay shows whether it was the same.
  absl::Status InitChain(AppConnection& app, std::uint64_t app_version);

  // Makes the next block of what is in the mempool: steps 1 to 7.
  absl::Status MakeNextBlock(AppConnection& app);

  // Gives `block`, which was committed before, to an application that lost it;
  // its answers must repeat what they were. No state of ours changes.
  absl::Status Replay(AppConnection& app, const v1::Block& block);
  // Steps 3 to 7 for `block`, which is saved already.
  absl::Status ApplySaved(AppConnection& app, v1::Block block);
  // Steps 6 and 7 for `block`, which the application has committed, with the
  // response that is saved.
  absl::Status ApplyCommitted(v1::Block block);

  // Whether `block` may follow the state. Errors: kFailedPrecondition.
  absl::Status CheckFollows(const v1::Block& block) const;

 private:
  Executor(BlockStore& store, Mempool& mempool, const Genesis& genesis,
           const ValidatorKey& key, OnCommitted on_committed);

  absl::StatusOr<v1::Block> Propose(AppConnection& app);
  absl::StatusOr<tendermint::abci::ResponseFinalizeBlock> Finalize(
      AppConnection& app, const v1::Block& block);
  // An answer to FinalizeBlock, compared with the response that is saved; only
  // that to a block after the state may be missing.
  absl::Status CheckAnswer(
      const v1::Block& block,
      const tendermint::abci::ResponseFinalizeBlock& answer) const;
  absl::Status SaveAndTell(ChainState next, v1::Block block,
                           tendermint::abci::ResponseFinalizeBlock response);
  absl::Status AdoptInitChain(const tendermint::abci::ResponseInitChain& answer,
                              std::uint64_t app_version);
  void SetState(ChainState state) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status RememberCommitted();

  BlockStore& store_;
  Mempool& mempool_;
  const Genesis& genesis_;
  const ValidatorKey& key_;
  const OnCommitted on_committed_;
  ChainState state_;  // the engine's thread alone

  mutable rpc::Mutex mu_;
  Tip tip_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_EXECUTOR_H_

// The engine: one thread that drives the application.

#ifndef TANDEM_NODE_NODE_H_
#define TANDEM_NODE_NODE_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "node/app_connection.h"
#include "node/block_store.h"
#include "node/executor.h"
#include "node/genesis.h"
#include "node/mempool.h"
#include "node/validator_key.h"
#include "rpc/base/mutex.h"
#include "tandem/node/v1/node.pb.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::node {

// Connects to the application, compares states (Recover), makes a block as soon
// as transactions wait, and begins again when the connection ends, until
// stopped. A chain's first block is made at once: applications answer only
// after it.
//
// When the application answers nonsense, no more blocks are made until it has
// been restarted; what was committed is still served. When its state is not
// that of this chain, or ahead of it, no restart helps, and the node ends.
//
// Lifecycle: Create(), Begin(), Stop(), which finishes what is in work, for a
// limited time. The destructor stops. Thread safety: thread-safe.
class Node {
 public:
  struct Options {
    AppDialer dial;
    // For people.
    std::string app_address;
    MempoolLimits mempool;
    // Makes a block each second though nothing waits.
    bool empty_blocks = false;
    // As in AppConnection.
    abci::CallRecorder* recorder = nullptr;
    // As in Executor.
    Executor::OnCommitted on_committed;
    // No block will ever be made, and the process should end: the store has
    // failed (kDataLoss), or the application's state and the chain do not
    // belong together (kAborted, see Recover). Called at most once, on the
    // engine's thread.
    std::function<void(const absl::Status&)> on_fatal;
  };

  // `store`, `genesis` and `key` must outlive the node. Errors: kDataLoss.
  static absl::StatusOr<std::unique_ptr<Node>> Create(Options options,
                                                      BlockStore& store,
                                                      const Genesis& genesis,
                                                      const ValidatorKey& key);
  ~Node();

  // Starts the engine: until then no application is talked to, and one is said
  // to be away. Once.
  void Begin() ABSL_LOCKS_EXCLUDED(join_mu_);

  // Ends everything: takes no more transactions, and gives those that it has,
  // if the application is in step, and the block in work at most `timeout` to
  // be committed; then cuts the connection, and refuses what is left in the
  // mempool. Idempotent; who comes second waits too.
  void Stop(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(join_mu_, mu_);

  Mempool& mempool() { return *mempool_; }
  Executor::Tip tip() const { return executor_->tip(); }
  v1::AppStatus app_status() const ABSL_LOCKS_EXCLUDED(mu_);

  // Asks the application. `done` runs once, on any thread, maybe before this
  // returns. Errors: kUnavailable while it is away or is recovered;
  // kFailedPrecondition while it does not belong to this chain.
  void Query(const tendermint::abci::RequestQuery& request,
             absl::Duration timeout,
             AppConnection::Done<tendermint::abci::ResponseQuery> done)
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  Node(Options options, BlockStore& store);

  // The engine's thread, from here on.
  void Run();
  // Drives one connection to its end; returns why it ended.
  absl::Status Drive(std::shared_ptr<AppConnection> connection);
  absl::Status Prepare(AppConnection& app);
  absl::Status MakeBlocks(AppConnection& app);
  // Stays with an application that cannot be driven, until it is restarted.
  void Endure(AppConnection& app, const absl::Status& why);
  void OnAway(const absl::Status& why);
  void NoteHello(const AppConnection& app) ABSL_LOCKS_EXCLUDED(mu_);
  void SetAppState(v1::AppStatus::State state, std::string reason)
      ABSL_LOCKS_EXCLUDED(mu_);
  void OpenToQueries(AppConnection* app) ABSL_LOCKS_EXCLUDED(mu_);
  // Returns when no query is in flight: close the connection first.
  void CloseToQueries(absl::Status why) ABSL_LOCKS_EXCLUDED(mu_);

  // Wakes the engine. Any thread.
  void Ring() ABSL_LOCKS_EXCLUDED(mu_);
  void ForgetRing() ABSL_LOCKS_EXCLUDED(mu_);
  // Waits for Ring(), or for `timeout`.
  void AwaitRing(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mu_);
  bool is_stopping() const ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  BlockStore& store_;
  std::unique_ptr<Mempool> mempool_;
  std::unique_ptr<Executor> executor_;

  mutable rpc::Mutex mu_;
  bool is_stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool is_rung_ ABSL_GUARDED_BY(mu_) = false;
  bool is_done_ ABSL_GUARDED_BY(mu_) = false;  // the engine has ended
  v1::AppStatus app_status_ ABSL_GUARDED_BY(mu_);
  // The one in use, which Stop() may cut: it shares it with the engine.
  std::shared_ptr<AppConnection> connection_ ABSL_GUARDED_BY(mu_);
  AppConnection* queried_ ABSL_GUARDED_BY(mu_) = nullptr;
  absl::Status no_queries_ ABSL_GUARDED_BY(mu_);
  int queries_ ABSL_GUARDED_BY(mu_) = 0;

  // Of the engine's thread: why the application is away, as was logged; and
  // whether it was in step on the last connection.
  std::string said_away_;
  bool was_in_step_ = false;

  // Held while the engine is waited for, which never takes it; before mu_.
  rpc::Mutex join_mu_;
  std::thread engine_ ABSL_GUARDED_BY(join_mu_);
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_NODE_H_

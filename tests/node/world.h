// A node's rooms around a FakeApp, without the engine's thread: the test
// drives.

#ifndef TANDEM_TESTS_NODE_WORLD_H_
#define TANDEM_TESTS_NODE_WORLD_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "node/app_connection.h"
#include "node/block_store.h"
#include "node/executor.h"
#include "node/genesis.h"
#include "node/mempool.h"
#include "node/validator_key.h"
#include "rpc/testing/temp_dir.h"
#include "tests/node/fake_app.h"

namespace tandem::node {

// Keeps what a watcher is told.
class Outcomes final : public SubmissionWatcher {
 public:
  bool OnChecked(int place,
                 const tendermint::abci::ResponseCheckTx& answer) override
      ABSL_LOCKS_EXCLUDED(mu_);
  void OnCommitted(int place, const v1::TxResult& result) override
      ABSL_LOCKS_EXCLUDED(mu_);
  void OnRefused(int place, const absl::Status& why) override
      ABSL_LOCKS_EXCLUDED(mu_);

  // Waits for so many of each; false after a generous limit.
  bool AwaitChecked(std::size_t count) ABSL_LOCKS_EXCLUDED(mu_);
  // In the order of their arrival, such as "0 checked 0", "0 committed 3",
  // "1 ALREADY_EXISTS".
  std::vector<std::string> All() const ABSL_LOCKS_EXCLUDED(mu_);
  // Why the one of this place was refused; OK if it was not.
  absl::Status Refusal(int place) const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Note(std::string what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable rpc::Mutex mu_;
  std::vector<std::string> all_ ABSL_GUARDED_BY(mu_);
  std::map<int, absl::Status> refusals_ ABSL_GUARDED_BY(mu_);
  std::size_t checked_ ABSL_GUARDED_BY(mu_) = 0;  // or refused
};

struct World {
  World();
  ~World();

  // Ends what is there, and opens the store anew: the node's restart.
  void Open();
  // A new connection to the application, which answers one call after the
  // other: the order of transactions is certain.
  void Connect();
  // Info and recovery, as the engine does.
  absl::Status Recover();
  // Open, Connect, Recover, and the first block.
  void StartChain();
  // Submits and waits until all have been checked.
  std::shared_ptr<Outcomes> Submit(const std::vector<std::string>& txs);
  // Makes a block of these; must succeed.
  void Commit(const std::vector<std::string>& txs);
  absl::Status MakeBlock() { return executor->MakeNextBlock(*connection); }

  rpc::testing::TempDir dir;
  FakeApp app;
  Genesis genesis;
  absl::StatusOr<ValidatorKey> key = absl::UnknownError("not loaded");
  MempoolLimits limits;

  std::unique_ptr<BlockStore> store;
  std::unique_ptr<Mempool> mempool;
  std::unique_ptr<Executor> executor;
  std::unique_ptr<AppConnection> connection;
  std::vector<std::shared_ptr<const v1::CommittedBlock>> published;
};

}  // namespace tandem::node

#endif  // TANDEM_TESTS_NODE_WORLD_H_

// Transactions on their way into a block.

#ifndef TANDEM_NODE_MEMPOOL_H_
#define TANDEM_NODE_MEMPOOL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "node/app_connection.h"
#include "node/block.h"
#include "rpc/base/mutex.h"
#include "tandem/node/v1/node.pb.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::node {

struct MempoolLimits {
  // More are refused, with kResourceExhausted.
  std::size_t max_transactions = 50'000;
  std::size_t max_bytes = 64 << 20;
  // A larger transaction is refused, with kInvalidArgument.
  std::size_t max_transaction_bytes = 1 << 20;
  // CheckTx calls that the application is given at once. It may see them in any
  // order; one that needs theirs wants 1.
  std::size_t checks_in_flight = 256;
  // How many committed transactions are remembered, to refuse them again.
  std::size_t cache_size = 10'000;
};

// Is told what becomes of the transactions that were submitted with it, each
// known by its place in the submission. Called on any thread, without locks
// held: OnRefused once, or OnChecked once and then, if that asked for it,
// OnRefused or OnCommitted once.
class SubmissionWatcher {
 public:
  virtual ~SubmissionWatcher() = default;

  // The application answered. With code 0 the transaction is in the pool; else
  // this was all. Returns whether to be told of the commit.
  virtual bool OnChecked(int place,
                         const tendermint::abci::ResponseCheckTx& answer) = 0;
  // It is in a block, durably; `result` may be moved from.
  virtual void OnCommitted(int place, const v1::TxResult& result) = 0;
  // It is not in the pool, or no longer.
  virtual void OnRefused(int place, const absl::Status& why) = 0;
};

// Holds transactions in the order they were submitted. Each is checked by the
// application (CheckTx, a bounded window of them at once), waits for a block,
// is checked again after each block that it is not in, and leaves when it is in
// one, byte for byte.
//
// No CheckTx is sent while a block is executed: its answer would be about a
// state that is about to be replaced, and it would have to be asked again.
//
// Thread safety: thread-safe; what is said to be for the engine is called by
// one thread. Lock order: mu_ is held over no call to anybody else.
class Mempool {
 public:
  // `on_ready` runs without locks held, on any thread, when the first
  // transaction is ready for a block.
  Mempool(MempoolLimits limits, std::function<void()> on_ready);
  ~Mempool();

  // Takes transactions in, in their order; each is answered through `watcher`:
  //   kInvalidArgument    empty, or too large for the pool or for a block; or
  //                       it wants more gas than a block has
  //   kAlreadyExists      in the pool, or committed not long ago
  //   kResourceExhausted  the pool is full
  //   kAborted            dropped: refused when it was checked again, or left
  //                       out by the application (see Update)
  //   kUnavailable        the application did not answer CheckTx; what Detach()
  //                       or Drain() was given, while no application is
  //                       attached, or since
  //   kInternal           the application answered CheckTx with an error
  //   kUnknown            the node stopped with the block that has it
  //                       unfinished, or makes no more blocks: it may be
  //                       committed yet
  // Never blocks.
  void Submit(google::protobuf::RepeatedPtrField<std::string> txs,
              std::shared_ptr<SubmissionWatcher> watcher)
      ABSL_LOCKS_EXCLUDED(mu_);

  v1::MempoolStatus GetStatus() const ABSL_LOCKS_EXCLUDED(mu_);
  // Whether it has the transaction with this SHA-256.
  bool Has(std::string_view hash) const ABSL_LOCKS_EXCLUDED(mu_);

  std::size_t cache_size() const { return limits_.cache_size; }
  // Transactions, by their SHA-256, that were committed before this node began,
  // the oldest first: refused as if they had been committed since.
  void Remember(const std::vector<std::string>& hashes)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Refuses what is submitted from now on with `why`, and waits until all that
  // it has is in blocks, or until no application is attached, or for `limit`.
  void Drain(absl::Status why, absl::Duration limit) ABSL_LOCKS_EXCLUDED(mu_);

  // For the engine, from here on.

  // Checks with `app` from now on, beginning with all that is in the pool; it
  // must live until Detach().
  void Attach(AppConnection* app) ABSL_LOCKS_EXCLUDED(mu_);
  // No application: what was not checked yet, and what is submitted from now
  // on, is refused with `why`. Returns when no CheckTx is in flight, so close
  // the connection first.
  void Detach(absl::Status why) ABSL_LOCKS_EXCLUDED(mu_);

  // Limits of a block: bytes as in MaxTransactionBytes, gas (-1: any).
  void SetBlockLimits(std::int64_t max_bytes, std::int64_t max_gas)
      ABSL_LOCKS_EXCLUDED(mu_);

  bool has_ready() const ABSL_LOCKS_EXCLUDED(mu_);

  // Waits until what was submitted before this call has been checked, or
  // `enough` are ready, or for `limit`: so that a batch is not cut into tiny
  // blocks.
  void AwaitChecks(std::size_t enough, absl::Duration limit)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Sends no more CheckTx, and returns when none is in flight.
  void Pause() ABSL_LOCKS_EXCLUDED(mu_);
  // Between Pause and Resume. Copies of what is ready, in order, as far as fits
  // a block.
  Transactions Reap() ABSL_LOCKS_EXCLUDED(mu_);
  // Between Pause and Resume. No block came of what Reap offered.
  void TakeBack() ABSL_LOCKS_EXCLUDED(mu_);
  // Between Pause and Resume. A block was committed: its transactions leave,
  // and their watchers are told; the others are checked again. Where the block
  // has transactions that were not in the pool, the application has rewritten
  // as many of those that Reap offered, and would do so again in every block:
  // the first so many that the block lacks are dropped. All of them, if the
  // block has none of what was offered.
  void Update(const v1::CommittedBlock& block) ABSL_LOCKS_EXCLUDED(mu_);
  void Resume() ABSL_LOCKS_EXCLUDED(mu_);

  // No more blocks are made for now: tells all who wait for a commit so, with
  // kUnknown and `why`. What is in the pool stays there.
  void TellStuck(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mu_);

  // Refuses everything with `why`, for when the node stops: what an unfinished
  // block may have with kUnknown.
  void Clear(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Hash = std::array<char, 32>;
  enum class State { kWaiting, kChecking, kReady };

  struct Entry {
    std::string tx;
    Hash hash;
    std::uint64_t sequence = 0;
    std::int64_t gas = 0;
    State state = State::kWaiting;
    bool was_accepted = false;  // by an earlier check
    bool is_offered = false;    // by Reap, for the block in work
    std::shared_ptr<SubmissionWatcher> watcher;  // null: nobody cares
    int place = 0;
  };
  using Entries = std::list<Entry>;

  // A watcher to call once the lock is released.
  struct Notice {
    std::shared_ptr<SubmissionWatcher> watcher;
    int place = 0;
    absl::Status why;
    const v1::TxResult* result = nullptr;  // set: committed
  };
  using Notices = std::vector<Notice>;
  static void Tell(const Notices& notices);

  static Hash HashOfTx(const std::string& tx);
  static Hash ToHash(std::string_view sha256);

  absl::Status MayEnter(const std::string& tx, const Hash& hash) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckSize(std::size_t size) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckGas(std::int64_t gas) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RememberOne(const Hash& hash) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Drop(Entries::iterator entry, absl::Status why, Notices& notices)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Erase(Entries::iterator entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CheckAllAgain() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Drops `count` of those that were offered, the first ones first.
  void DropUntaken(std::int64_t height, std::size_t count, Notices& notices)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Sends CheckTx as far as the window has room.
  void SendChecks() ABSL_LOCKS_EXCLUDED(mu_);
  bool NextCheck(std::size_t sent, AppConnection** app,
                 Entries::iterator* entry) ABSL_LOCKS_EXCLUDED(mu_);
  void OnAnswer(Entries::iterator entry,
                absl::StatusOr<tendermint::abci::ResponseCheckTx> answer)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Judge(
      Entries::iterator entry,
      const absl::StatusOr<tendermint::abci::ResponseCheckTx>& answer) const
      ABSL_LOCKS_EXCLUDED(mu_);

  const MempoolLimits limits_;
  const std::function<void()> on_ready_;

  mutable rpc::Mutex mu_;
  Entries entries_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<Hash, Entries::iterator> by_hash_ ABSL_GUARDED_BY(mu_);
  // The first that waits to be checked; all after it wait too.
  Entries::iterator next_check_ ABSL_GUARDED_BY(mu_) = entries_.end();
  std::uint64_t next_sequence_ ABSL_GUARDED_BY(mu_) = 0;
  std::size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::size_t ready_ ABSL_GUARDED_BY(mu_) = 0;
  std::size_t in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  // Calls whose callback still uses this object: those in flight, and more.
  std::size_t callbacks_ ABSL_GUARDED_BY(mu_) = 0;
  // AwaitChecks waits for so many, of those with a smaller sequence.
  std::uint64_t awaited_before_ ABSL_GUARDED_BY(mu_) = 0;
  std::size_t awaited_ ABSL_GUARDED_BY(mu_) = 0;

  AppConnection* app_ ABSL_GUARDED_BY(mu_) = nullptr;
  absl::Status away_ ABSL_GUARDED_BY(mu_);
  absl::Status closed_ ABSL_GUARDED_BY(mu_);  // not OK: since Drain()
  bool is_paused_ ABSL_GUARDED_BY(mu_) = false;
  bool is_sending_ ABSL_GUARDED_BY(mu_) = false;  // a thread is in SendChecks
  std::int64_t max_block_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::int64_t max_block_gas_ ABSL_GUARDED_BY(mu_) = -1;

  // Committed transactions, the oldest first.
  std::list<Hash> committed_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<Hash, std::list<Hash>::iterator> committed_by_hash_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_MEMPOOL_H_

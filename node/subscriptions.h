// Committed blocks, streamed to whoever wants them.

#ifndef TANDEM_NODE_SUBSCRIPTIONS_H_
#define TANDEM_NODE_SUBSCRIPTIONS_H_

#include <cstdint>
#include <list>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "node/block_store.h"
#include "rpc/base/mutex.h"
#include "rpc/server/reply.h"
#include "tandem/node/v1/node.pb.h"

namespace tandem::node {

// Sends each subscriber the blocks from its height on, in order. One thread
// feeds all: a subscriber that has room gets its next block, from the store
// unless it is the latest. What waits for a slow reader is what its stream
// buffers, no more.
//
// Lifecycle: Stop() ends all streams; the destructor stops. Must outlive the
// server that the streams belong to.
// Thread safety: thread-safe.
class Subscriptions {
 public:
  // `last` is the last committed block's height, 0 before the first, whose
  // height is `initial`. `store` must outlive the object.
  Subscriptions(BlockStore& store, std::int64_t last, std::int64_t initial);
  ~Subscriptions();

  // Takes the next committed block.
  void Publish(std::shared_ptr<const v1::CommittedBlock> block)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Sends the blocks from `from` on through `out`; 0: from the next on. Where
  // the store has no block of that height any more, the stream ends with
  // kNotFound.
  void Add(rpc::Call& call, std::int64_t from,
           rpc::Writer<v1::CommittedBlock> out) ABSL_LOCKS_EXCLUDED(mu_);

  // Ends all streams, and those that are added later, with kUnavailable.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // The flags are guarded by mu_; the rest is the feeder's alone.
  struct Subscriber {
    Subscriber(std::int64_t from, rpc::Writer<v1::CommittedBlock> writer)
        : next(from), out(std::move(writer)) {}
    std::int64_t next;
    rpc::Writer<v1::CommittedBlock> out;
    bool has_room = true;
    bool is_gone = false;
  };
  void Feed() ABSL_LOCKS_EXCLUDED(mu_);
  bool IsDue(const Subscriber& subscriber) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<std::shared_ptr<Subscriber>> AwaitDue() ABSL_LOCKS_EXCLUDED(mu_);
  // Sends one block; false: the stream is over.
  bool Send(const std::shared_ptr<Subscriber>& subscriber)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::shared_ptr<const v1::CommittedBlock>> Load(
      std::int64_t height) ABSL_LOCKS_EXCLUDED(mu_);

  BlockStore& store_;

  rpc::Mutex mu_;
  bool is_stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::int64_t last_ ABSL_GUARDED_BY(mu_);
  // The last block published.
  std::shared_ptr<const v1::CommittedBlock> cached_ ABSL_GUARDED_BY(mu_);
  std::list<std::shared_ptr<Subscriber>> subscribers_ ABSL_GUARDED_BY(mu_);

  std::thread feeder_;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_SUBSCRIPTIONS_H_

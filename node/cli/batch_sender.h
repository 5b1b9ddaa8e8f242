// Transactions on their way to a node, many at once.

#ifndef TANDEM_NODE_CLI_BATCH_SENDER_H_
#define TANDEM_NODE_CLI_BATCH_SENDER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem::node {

// One line of input and what became of it.
struct Submission {
  std::uint64_t line = 0;  // From 1.
  std::string tx;
  // Not OK: the line never became a transaction that the application judged.
  absl::Status status;
  v1::TxResult result;
  // From the first time it was sent to its answer.
  absl::Duration latency;
};

// Hands transactions to a node in batches, several in flight, and gives them
// back in their order. One that the node has for certain not taken, because the
// mempool is full or the application or the node is away, is handed in again
// until its time is over; others may overtake it then. What became of one whose
// call broke is unknown, so it is given back, with how to find out.
//
// Lifecycle: the destructor cancels what is in flight.
// Thread safety: thread-compatible.
class BatchSender {
 public:
  struct Options {
    v1::Wait wait = v1::COMMIT;
    // What each transaction has.
    absl::Duration timeout;
    // Where to look for those whose call broke.
    std::int64_t first_height = 1;
    // Is told, again and again, what it is that TakeReady() or TakeNext() waits
    // for, such as "the application". Never for an answer alone.
    std::function<void(std::string_view)> on_wait;
  };

  // `client` must outlive this.
  BatchSender(v1::NodeClient& client, Options options);
  ~BatchSender();
  BatchSender(const BatchSender&) = delete;
  BatchSender& operator=(const BatchSender&) = delete;

  // Adds to the batch that is being filled, and sends it if it is full. One
  // whose status is not OK keeps its place, but is not sent.
  void Add(Submission submission);
  // Sends what was added, also if the batch is not full.
  void Send();

  // The oldest batch, if it is answered, or if too many are in flight, which
  // waits; else nothing.
  std::vector<Submission> TakeReady();
  // The oldest batch, waiting for it; nothing when none is in flight.
  std::vector<Submission> TakeNext();

 private:
  struct Batch;

  void Start(Batch& batch);
  void OnReply(Batch& batch, absl::StatusOr<v1::SubmitBatchReply> reply);
  // Whom the transactions wait for; empty when node and application work.
  std::string_view AskWhoIsAway();
  // Hands in again, if `is_ready`, what the node has not taken and has time
  // left.
  void StartAgain(bool is_ready) ABSL_LOCKS_EXCLUDED(mu_);
  bool IsAnswered(const Batch& batch) ABSL_LOCKS_EXCLUDED(mu_);

  v1::NodeClient& client_;
  const Options options_;
  rpc::Cancellation cancellation_;

  std::vector<Submission> filling_;
  std::size_t filling_bytes_ = 0;
  std::deque<std::unique_ptr<Batch>> in_flight_;

  rpc::Mutex mu_;  // Guards Batch::state.
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_BATCH_SENDER_H_

// Transactions on their way to a node, many at once.

#ifndef TANDEM_NODE_CLI_BATCH_SENDER_H_
#define TANDEM_NODE_CLI_BATCH_SENDER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
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
// back in their order. A transaction that finds the mempool full is handed in
// again until its time is over; others may overtake it then.
//
// Lifecycle: the destructor cancels what is in flight.
// Thread safety: thread-compatible.
class BatchSender {
 public:
  // `timeout` is what each transaction has. `client` must outlive this.
  BatchSender(v1::NodeClient& client, v1::Wait wait, absl::Duration timeout);
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
  // Hands in again what found the mempool full; false when there is nothing or
  // no time is left.
  bool StartAgain(Batch& batch);
  bool IsAnswered(const Batch& batch) ABSL_LOCKS_EXCLUDED(mu_);

  v1::NodeClient& client_;
  const v1::Wait wait_;
  const absl::Duration timeout_;
  rpc::Cancellation cancellation_;

  std::vector<Submission> filling_;
  std::size_t filling_bytes_ = 0;
  std::deque<std::unique_ptr<Batch>> in_flight_;

  rpc::Mutex mu_;  // Guards Batch::is_answered.
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_BATCH_SENDER_H_

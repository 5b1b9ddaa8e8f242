// Transactions on their way to a node, many at once.

#ifndef TANDEM_NODE_CLI_BATCH_SENDER_H_
#define TANDEM_NODE_CLI_BATCH_SENDER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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

// Hands transactions to a node in batches, one after the other, so that they
// come into the mempool in their order. One that the node has for certain not
// taken, because the mempool is full or the application or the node is away, is
// handed in again until its time is over; others may overtake it then. Where
// the call broke, the node is asked what became of the transaction, and it is
// handed in again only if that is nothing.
//
// Thread safety: thread-compatible.
class BatchSender {
 public:
  struct Options {
    v1::Wait wait = v1::COMMIT;
    // What each transaction has.
    absl::Duration timeout;
    // Is told, again and again, what it is that Send() waits for, such as "the
    // application". Never for an answer alone.
    std::function<void(std::string_view)> on_wait;
  };

  // `client` must outlive this.
  BatchSender(v1::NodeClient& client, Options options);

  // Adds to the batch. One whose status is not OK keeps its place, but is not
  // sent.
  void Add(Submission submission);
  // Whether the batch is to be sent before more is added.
  bool is_full() const;
  // Sends what was added, waits, and returns it with its answers.
  std::vector<Submission> Send() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Places in the batch of those that wait for the node.
  struct Waiting {
    std::vector<std::size_t> to_hand_in;
    // The node may have them: it is to be asked.
    std::vector<std::size_t> to_ask_for;
  };

  // Hands in what is to be, and asks for what is to be; leaves in `waiting`
  // what the node has not decided.
  void HandIn(std::vector<Submission>& batch, Waiting& waiting,
              absl::Time first_sent) ABSL_LOCKS_EXCLUDED(mu_);
  void AskFor(std::vector<Submission>& batch, Waiting& waiting,
              absl::Time first_sent);
  absl::StatusOr<v1::SubmitBatchReply> Call(
      const v1::SubmitBatchRequest& request, absl::Duration timeout)
      ABSL_LOCKS_EXCLUDED(mu_);
  enum class Readiness {
    kReady,
    kAway,   // the node, or the application; on_wait was told
    kStuck,  // no blocks are made until somebody acts
  };
  Readiness Look();

  v1::NodeClient& client_;
  const Options options_;
  std::vector<Submission> batch_;
  std::size_t bytes_ = 0;

  rpc::Mutex mu_;
  bool is_answered_ ABSL_GUARDED_BY(mu_) = false;
  absl::StatusOr<v1::SubmitBatchReply> reply_ ABSL_GUARDED_BY(mu_) =
      absl::UnknownError("no answer yet");
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_BATCH_SENDER_H_

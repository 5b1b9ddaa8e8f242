// One Submit or SubmitBatch on its way to its answer.

#ifndef TANDEM_NODE_SUBMISSION_H_
#define TANDEM_NODE_SUBMISSION_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "node/mempool.h"
#include "rpc/base/mutex.h"
#include "tandem/node/v1/node.pb.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::node {

// Gathers what becomes of each transaction, and answers once: when all are
// known, or when the time is up.
//
// Thread safety: thread-safe.
class Submission final : public SubmissionWatcher {
 public:
  using Results = google::protobuf::RepeatedPtrField<v1::BatchResult>;
  // Runs once, on any thread, without locks held.
  using Done = std::function<void(Results)>;

  Submission(const google::protobuf::RepeatedPtrField<std::string>& txs,
             v1::Wait wait, Done done);

  bool OnChecked(int place,
                 const tendermint::abci::ResponseCheckTx& answer) override;
  void OnCommitted(int place, const v1::TxResult& result) override;
  void OnRefused(int place, const absl::Status& why) override;

  // Time is up: answers with what is known.
  void Expire() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Settle(int place, const absl::Status& status, const v1::TxResult* result)
      ABSL_LOCKS_EXCLUDED(mu_);

  const v1::Wait wait_;
  const Done done_;
  rpc::Mutex mu_;
  Results results_ ABSL_GUARDED_BY(mu_);
  std::vector<bool> is_settled_ ABSL_GUARDED_BY(mu_);
  int unsettled_ ABSL_GUARDED_BY(mu_);
  bool is_answered_ ABSL_GUARDED_BY(mu_) = false;
};

// Expires submissions at their deadlines. One thread serves all.
//
// Lifecycle: the destructor expires nothing; submissions may outlive it.
// Thread safety: thread-safe.
class SubmissionDeadlines {
 public:
  SubmissionDeadlines();
  ~SubmissionDeadlines();

  void Add(absl::Time deadline, std::weak_ptr<Submission> submission)
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Below so many, submissions that are over are not looked for.
  static constexpr std::size_t kSmallest = 1024;

  void Run() ABSL_LOCKS_EXCLUDED(mu_);

  rpc::Mutex mu_;
  bool is_stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::multimap<absl::Time, std::weak_ptr<Submission>> by_deadline_
      ABSL_GUARDED_BY(mu_);
  std::size_t sweep_at_ ABSL_GUARDED_BY(mu_) = kSmallest;
  std::thread thread_;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_SUBMISSION_H_

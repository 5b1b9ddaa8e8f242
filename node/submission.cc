#include "node/submission.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rpc/base/sha256.h"

namespace tandem::node {

using rpc::MutexLock;
using tendermint::abci::ResponseCheckTx;

Submission::Submission(
    const google::protobuf::RepeatedPtrField<std::string>& txs, v1::Wait wait,
    Done done)
    : wait_(wait),
      done_(std::move(done)),
      is_settled_(txs.size()),
      unsettled_(txs.size()) {
  for (const std::string& tx : txs) {
    results_.Add()->mutable_result()->set_hash(rpc::Sha256(tx));
  }
}

bool Submission::OnChecked(int place, const ResponseCheckTx& answer) {
  {
    MutexLock lock(mu_);
    if (is_answered_) return false;
    v1::TxResult& result = *results_[place].mutable_result();
    result.set_code(answer.code());
    result.set_codespace(answer.codespace());
    // Some applications say why in `info`, the kvstores among them.
    result.set_log(answer.log().empty() ? answer.info() : answer.log());
    result.set_data(answer.data());
    result.set_gas_wanted(answer.gas_wanted());
    result.set_gas_used(answer.gas_used());
  }
  if (answer.code() == 0 && wait_ == v1::COMMIT) return true;
  Settle(place, absl::OkStatus(), nullptr);
  return false;
}

void Submission::OnCommitted(int place, const v1::TxResult& result) {
  Settle(place, absl::OkStatus(), &result);
}

void Submission::OnRefused(int place, const absl::Status& why) {
  Settle(place, why, nullptr);
}

void Submission::Settle(int place, const absl::Status& status,
                        const v1::TxResult* result) {
  Results results;
  {
    MutexLock lock(mu_);
    if (is_answered_ || is_settled_[place]) return;
    is_settled_[place] = true;
    results_[place].set_status(static_cast<int>(status.code()));
    results_[place].set_message(std::string(status.message()));
    if (result != nullptr) *results_[place].mutable_result() = *result;
    if (--unsettled_ > 0) return;
    is_answered_ = true;
    results.Swap(&results_);
  }
  done_(std::move(results));
}

void Submission::Expire() {
  Results results;
  {
    MutexLock lock(mu_);
    if (is_answered_) return;
    for (std::size_t place = 0; place < is_settled_.size(); ++place) {
      if (is_settled_[place]) continue;
      v1::BatchResult& late = results_[static_cast<int>(place)];
      late.set_status(static_cast<int>(absl::StatusCode::kDeadlineExceeded));
      late.set_message(
          "time is up: the transaction is handed in, but neither committed nor "
          "refused yet");
    }
    is_answered_ = true;
    results.Swap(&results_);
  }
  done_(std::move(results));
}

SubmissionDeadlines::SubmissionDeadlines() : thread_([this] { Run(); }) {}

SubmissionDeadlines::~SubmissionDeadlines() {
  {
    MutexLock lock(mu_);
    is_stopping_ = true;
    mu_.NotifyAll();
  }
  thread_.join();
}

void SubmissionDeadlines::Add(absl::Time deadline,
                              std::weak_ptr<Submission> submission) {
  MutexLock lock(mu_);
  if (by_deadline_.size() >= sweep_at_) {
    std::erase_if(by_deadline_,
                  [](const auto& entry) { return entry.second.expired(); });
    sweep_at_ = std::max(kSmallest, 2 * by_deadline_.size());
  }
  const auto added = by_deadline_.emplace(deadline, std::move(submission));
  if (added == by_deadline_.begin()) mu_.NotifyAll();
}

void SubmissionDeadlines::Run() {
  while (true) {
    std::shared_ptr<Submission> late;
    {
      MutexLock lock(mu_);
      if (is_stopping_) return;
      const absl::Time next = by_deadline_.empty()
                                  ? absl::InfiniteFuture()
                                  : by_deadline_.begin()->first;
      const bool is_changed =
          mu_.AwaitUntil(next, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
            return is_stopping_ || (!by_deadline_.empty() &&
                                    by_deadline_.begin()->first < next);
          });
      // Add() may have swept away the one that was waited for.
      if (is_changed || by_deadline_.empty() ||
          by_deadline_.begin()->first > next) {
        continue;
      }
      late = by_deadline_.begin()->second.lock();
      by_deadline_.erase(by_deadline_.begin());
    }
    if (late != nullptr) late->Expire();
  }
}

}  // namespace tandem::node

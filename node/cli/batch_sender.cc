#include "node/cli/batch_sender.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace tandem::node {
namespace {

constexpr std::size_t kMaxBatch = 500;
constexpr std::size_t kMaxBatchBytes = 1 << 20;
constexpr std::size_t kMaxInFlight = 4;
// What a call has beyond the time that the node has to commit.
constexpr absl::Duration kGrace = absl::Seconds(5);
constexpr absl::Duration kFullPause = absl::Milliseconds(20);

v1::SubmitBatchRequest MakeRequest(v1::Wait wait, absl::Duration timeout) {
  v1::SubmitBatchRequest request;
  request.set_wait(wait);
  const std::int64_t seconds =
      absl::IDivDuration(timeout, absl::Seconds(1), &timeout);
  request.mutable_timeout()->set_seconds(seconds);
  request.mutable_timeout()->set_nanos(
      static_cast<int>(absl::ToInt64Nanoseconds(timeout)));
  return request;
}

}  // namespace

struct BatchSender::Batch {
  std::vector<Submission> submissions;
  std::vector<std::size_t> sent;  // Their places in `submissions`.
  absl::Time first_sent;
  bool is_answered = false;
};

BatchSender::BatchSender(v1::NodeClient& client, v1::Wait wait,
                         absl::Duration timeout)
    : client_(client), wait_(wait), timeout_(timeout) {}

BatchSender::~BatchSender() {
  cancellation_.Cancel();
  for (const auto& batch : in_flight_) {
    rpc::MutexLock lock(mu_);
    mu_.Await([&] { return batch->is_answered; });
  }
}

void BatchSender::Add(Submission submission) {
  filling_bytes_ += submission.tx.size();
  filling_.push_back(std::move(submission));
  if (filling_.size() >= kMaxBatch || filling_bytes_ >= kMaxBatchBytes) Send();
}

void BatchSender::Send() {
  if (filling_.empty()) return;
  auto batch = std::make_unique<Batch>();
  batch->submissions = std::exchange(filling_, {});
  filling_bytes_ = 0;
  for (std::size_t i = 0; i < batch->submissions.size(); ++i) {
    if (batch->submissions[i].status.ok()) batch->sent.push_back(i);
  }
  batch->first_sent = absl::Now();
  in_flight_.push_back(std::move(batch));
  Start(*in_flight_.back());
}

void BatchSender::Start(Batch& batch) {
  if (batch.sent.empty()) {
    rpc::MutexLock lock(mu_);
    batch.is_answered = true;
    return;
  }
  const absl::Duration left =
      std::max(timeout_ - (absl::Now() - batch.first_sent), kFullPause);
  v1::SubmitBatchRequest request = MakeRequest(wait_, left);
  for (const std::size_t place : batch.sent) {
    request.add_txs(batch.submissions[place].tx);
  }
  client_.SubmitBatch(
      request, {.timeout = left + kGrace, .cancellation = &cancellation_},
      [this, &batch](absl::StatusOr<v1::SubmitBatchReply> reply) {
        OnReply(batch, std::move(reply));
      });
}

void BatchSender::OnReply(Batch& batch,
                          absl::StatusOr<v1::SubmitBatchReply> reply) {
  if (reply.ok() &&
      reply->results_size() != static_cast<int>(batch.sent.size())) {
    reply = absl::InternalError(
        absl::StrCat("the node answered ", reply->results_size(), " of ",
                     batch.sent.size(), " transactions"));
  }
  for (std::size_t i = 0; i < batch.sent.size(); ++i) {
    Submission& submission = batch.submissions[batch.sent[i]];
    submission.latency = absl::Now() - batch.first_sent;
    if (!reply.ok()) {
      submission.status = reply.status();
      continue;
    }
    v1::BatchResult& result = *reply->mutable_results(static_cast<int>(i));
    submission.status = absl::Status(
        static_cast<absl::StatusCode>(result.status()), result.message());
    submission.result = std::move(*result.mutable_result());
  }
  rpc::MutexLock lock(mu_);
  batch.is_answered = true;
  mu_.NotifyAll();
}

bool BatchSender::StartAgain(Batch& batch) {
  if (absl::Now() - batch.first_sent + kFullPause >= timeout_) return false;
  const auto is_done = [&batch](std::size_t place) {
    return !absl::IsResourceExhausted(batch.submissions[place].status);
  };
  batch.sent.erase(
      std::remove_if(batch.sent.begin(), batch.sent.end(), is_done),
      batch.sent.end());
  if (batch.sent.empty()) return false;
  batch.is_answered = false;
  absl::SleepFor(kFullPause);
  Start(batch);
  return true;
}

bool BatchSender::IsAnswered(const Batch& batch) {
  rpc::MutexLock lock(mu_);
  return batch.is_answered;
}

std::vector<Submission> BatchSender::TakeReady() {
  if (in_flight_.empty()) return {};
  if (in_flight_.size() < kMaxInFlight && !IsAnswered(*in_flight_.front())) {
    return {};
  }
  return TakeNext();
}

std::vector<Submission> BatchSender::TakeNext() {
  if (in_flight_.empty()) return {};
  Batch& oldest = *in_flight_.front();
  do {
    rpc::MutexLock lock(mu_);
    mu_.Await([&] { return oldest.is_answered; });  // The call has a deadline.
  } while (StartAgain(oldest));
  std::vector<Submission> submissions = std::move(oldest.submissions);
  in_flight_.pop_front();
  return submissions;
}

}  // namespace tandem::node

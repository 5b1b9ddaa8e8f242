#include "node/cli/batch_sender.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace tandem::node {
namespace {

constexpr std::size_t kMaxBatch = 2000;
constexpr std::size_t kMaxBatchBytes = 1 << 20;
// What a call has beyond the time that the node has to commit.
constexpr absl::Duration kGrace = absl::Seconds(2);
// Between looks at the node while there is no answer.
constexpr absl::Duration kPause = absl::Milliseconds(50);
constexpr absl::Duration kAskTimeout = absl::Seconds(1);

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

// By contract the transaction is neither in the mempool nor in a block.
bool IsNotTaken(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
}

}  // namespace

BatchSender::BatchSender(v1::NodeClient& client, Options options)
    : client_(client), options_(std::move(options)) {}

void BatchSender::Add(Submission submission) {
  bytes_ += submission.tx.size();
  batch_.push_back(std::move(submission));
}

bool BatchSender::is_full() const {
  return batch_.size() >= kMaxBatch || bytes_ >= kMaxBatchBytes;
}

std::vector<Submission> BatchSender::Send() {
  std::vector<Submission> batch = std::exchange(batch_, {});
  bytes_ = 0;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (batch[i].status.ok()) places.push_back(i);
  }
  const absl::Time begin = absl::Now();
  const absl::Time end = begin + options_.timeout;
  while (!places.empty()) {
    HandIn(batch, places, begin);
    do {
      if (places.empty() || absl::Now() + kPause >= end) break;
      absl::SleepFor(kPause);
    } while (!AreReady());
    if (absl::Now() + kPause >= end) break;
  }
  return batch;
}

void BatchSender::HandIn(std::vector<Submission>& batch,
                         std::vector<std::size_t>& places,
                         absl::Time first_sent) {
  const absl::Duration left =
      std::max(first_sent + options_.timeout - absl::Now(), kPause);
  v1::SubmitBatchRequest request = MakeRequest(options_.wait, left);
  for (const std::size_t place : places) request.add_txs(batch[place].tx);
  auto reply = Call(request, left + kGrace);
  if (reply.ok() && reply->results_size() != request.txs_size()) {
    reply = absl::InternalError(
        absl::StrCat("the node answered ", reply->results_size(), " of ",
                     request.txs_size(), " transactions"));
  }
  if (absl::IsUnavailable(reply.status())) {
    // It waited for a server, so there was one, which may have acted on it.
    reply = absl::UnavailableError(absl::StrCat(
        reply.status().message(),
        "; the transaction may be committed: `tandem watch --from ",
        options_.first_height, "` shows it if it is"));
  }
  std::vector<std::size_t> not_taken;
  for (std::size_t i = 0; i < places.size(); ++i) {
    Submission& submission = batch[places[i]];
    submission.latency = absl::Now() - first_sent;
    if (!reply.ok()) {
      submission.status = reply.status();
      continue;
    }
    v1::BatchResult& result = *reply->mutable_results(static_cast<int>(i));
    submission.status = absl::Status(
        static_cast<absl::StatusCode>(result.status()), result.message());
    submission.result = std::move(*result.mutable_result());
    if (IsNotTaken(submission.status)) not_taken.push_back(places[i]);
  }
  places = std::move(not_taken);
}

absl::StatusOr<v1::SubmitBatchReply> BatchSender::Call(
    const v1::SubmitBatchRequest& request, absl::Duration timeout) {
  {
    rpc::MutexLock lock(mu_);
    is_answered_ = false;
  }
  client_.SubmitBatch(request, {.timeout = timeout, .wait_for_ready = true},
                      [this](absl::StatusOr<v1::SubmitBatchReply> reply) {
                        rpc::MutexLock lock(mu_);
                        reply_ = std::move(reply);
                        is_answered_ = true;
                        mu_.NotifyAll();
                      });
  while (true) {
    {
      rpc::MutexLock lock(mu_);
      if (mu_.AwaitFor(kPause, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
            return is_answered_;
          })) {
        return std::move(reply_);
      }
    }
    AreReady();
  }
}

bool BatchSender::AreReady() {
  const auto status = client_.Status({}, {.timeout = kAskTimeout});
  if (!status.ok()) {
    options_.on_wait("the node");
    return false;
  }
  const v1::AppStatus::State state = status->app().state();
  const bool is_away =
      state == v1::AppStatus::AWAY || state == v1::AppStatus::RECOVERING;
  if (is_away) options_.on_wait("the application");
  return !is_away;
}

}  // namespace tandem::node

#include "node/cli/batch_sender.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rpc/base/sha256.h"

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

absl::Status MaybeCommitted(const absl::Status& why) {
  return absl::UnavailableError(absl::StrCat(
      why.message(),
      "; the transaction may be committed: `tandem tx HASH` says so"));
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
  Waiting waiting;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (batch[i].status.ok()) waiting.to_hand_in.push_back(i);
  }
  const absl::Time begin = absl::Now();
  const absl::Time end = begin + options_.timeout;
  const auto is_over = [&waiting, end] {
    return (waiting.to_hand_in.empty() && waiting.to_ask_for.empty()) ||
           absl::Now() + kPause >= end;
  };
  while (true) {
    if (!waiting.to_ask_for.empty()) AskFor(batch, waiting, begin);
    if (!waiting.to_hand_in.empty()) HandIn(batch, waiting, begin);
    Readiness readiness = Readiness::kAway;
    while (readiness == Readiness::kAway) {
      if (is_over()) return batch;
      absl::SleepFor(kPause);
      readiness = Look();
    }
    if (readiness == Readiness::kStuck) return batch;
  }
}

void BatchSender::HandIn(std::vector<Submission>& batch, Waiting& waiting,
                         absl::Time first_sent) {
  const absl::Duration left =
      std::max(first_sent + options_.timeout - absl::Now(), kPause);
  const std::vector<std::size_t> places = std::exchange(waiting.to_hand_in, {});
  v1::SubmitBatchRequest request = MakeRequest(options_.wait, left);
  for (const std::size_t place : places) request.add_txs(batch[place].tx);
  auto reply = Call(request, left + kGrace);
  if (reply.ok() && reply->results_size() != request.txs_size()) {
    reply = absl::InternalError(
        absl::StrCat("the node answered ", reply->results_size(), " of ",
                     request.txs_size(), " transactions"));
  }
  for (std::size_t i = 0; i < places.size(); ++i) {
    Submission& submission = batch[places[i]];
    submission.latency = absl::Now() - first_sent;
    if (!reply.ok()) {
      // It waited for a server, so there was one, which may have acted on it.
      const bool broke = absl::IsUnavailable(reply.status());
      submission.status =
          broke ? MaybeCommitted(reply.status()) : reply.status();
      submission.result.set_hash(rpc::Sha256(submission.tx));
      if (broke) waiting.to_ask_for.push_back(places[i]);
      continue;
    }
    v1::BatchResult& result = *reply->mutable_results(static_cast<int>(i));
    const absl::Status before = std::exchange(
        submission.status,
        absl::Status(static_cast<absl::StatusCode>(result.status()),
                     result.message()));
    submission.result = std::move(*result.mutable_result());
    if (IsNotTaken(submission.status)) {
      waiting.to_hand_in.push_back(places[i]);
    } else if (absl::IsUnknown(submission.status) ||
               // By the call that broke, which the node had not begun when it
               // was asked.
               (absl::IsAlreadyExists(submission.status) && !before.ok())) {
      waiting.to_ask_for.push_back(places[i]);
    }
  }
}

void BatchSender::AskFor(std::vector<Submission>& batch, Waiting& waiting,
                         absl::Time first_sent) {
  const absl::Time end = first_sent + options_.timeout;
  for (const std::size_t place : std::exchange(waiting.to_ask_for, {})) {
    if (absl::Now() >= end) {
      waiting.to_ask_for.push_back(place);
      continue;
    }
    Submission& submission = batch[place];
    v1::GetTransactionRequest request;
    request.set_hash(submission.result.hash());
    auto reply = client_.GetTransaction(request, {.timeout = kAskTimeout});
    submission.latency = absl::Now() - first_sent;
    if (absl::IsNotFound(reply.status())) {
      waiting.to_hand_in.push_back(place);
    } else if (reply.ok() &&
               (reply->state() == v1::GetTransactionReply::COMMITTED ||
                options_.wait == v1::CHECK)) {
      submission.status = absl::OkStatus();
      submission.result = std::move(*reply->mutable_result());
    } else {
      waiting.to_ask_for.push_back(place);
    }
  }
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
    Look();
  }
}

BatchSender::Readiness BatchSender::Look() {
  const auto status = client_.Status({}, {.timeout = kAskTimeout});
  if (!status.ok()) {
    options_.on_wait("the node");
    return Readiness::kAway;
  }
  switch (status->app().state()) {
    case v1::AppStatus::STOPPED:
      return Readiness::kStuck;
    case v1::AppStatus::RUNNING:
      return Readiness::kReady;
    default:
      options_.on_wait("the application");
      return Readiness::kAway;
  }
}

}  // namespace tandem::node

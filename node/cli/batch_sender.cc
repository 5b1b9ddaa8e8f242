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

struct BatchSender::Batch {
  enum class State {
    kOnItsWay,
    kRefused,  // Those at the places `sent` may be handed in again.
    kAnswered,
  };

  std::vector<Submission> submissions;
  std::vector<std::size_t> sent;  // Their places in `submissions`.
  absl::Time first_sent;
  State state = State::kOnItsWay;
};

BatchSender::BatchSender(v1::NodeClient& client, Options options)
    : client_(client), options_(std::move(options)) {}

BatchSender::~BatchSender() {
  cancellation_.Cancel();
  for (const auto& batch : in_flight_) {
    rpc::MutexLock lock(mu_);
    mu_.Await([&] { return batch->state != Batch::State::kOnItsWay; });
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
    batch.state = Batch::State::kAnswered;
    return;
  }
  const absl::Duration left =
      std::max(batch.first_sent + options_.timeout - absl::Now(), kPause);
  v1::SubmitBatchRequest request = MakeRequest(options_.wait, left);
  for (const std::size_t place : batch.sent) {
    request.add_txs(batch.submissions[place].tx);
  }
  client_.SubmitBatch(
      request,
      {.timeout = left + kGrace,
       .wait_for_ready = true,
       .cancellation = &cancellation_},
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
  if (absl::IsUnavailable(reply.status())) {
    // It waited for a server, so there was one, which may have acted on it.
    reply = absl::UnavailableError(absl::StrCat(
        reply.status().message(),
        "; the transaction may be committed: `tandem ", "watch --from ",
        options_.first_height, "` shows it if it is"));
  }
  std::vector<std::size_t> not_taken;
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
    if (IsNotTaken(submission.status)) not_taken.push_back(batch.sent[i]);
  }
  batch.sent = std::move(not_taken);
  rpc::MutexLock lock(mu_);
  batch.state =
      batch.sent.empty() ? Batch::State::kAnswered : Batch::State::kRefused;
  mu_.NotifyAll();
}

std::string_view BatchSender::AskWhoIsAway() {
  const auto status = client_.Status({}, {.timeout = kAskTimeout});
  if (!status.ok()) return "the node";
  const v1::AppStatus::State state = status->app().state();
  const bool is_away =
      state == v1::AppStatus::AWAY || state == v1::AppStatus::RECOVERING;
  return is_away ? "the application" : "";
}

void BatchSender::StartAgain(bool is_ready) {
  for (const auto& batch : in_flight_) {
    {
      rpc::MutexLock lock(mu_);
      if (batch->state != Batch::State::kRefused) continue;
      const absl::Time end = batch->first_sent + options_.timeout;
      if (absl::Now() + kPause >= end) {
        batch->state = Batch::State::kAnswered;
        continue;
      }
      if (!is_ready) continue;
      batch->state = Batch::State::kOnItsWay;
    }
    Start(*batch);
  }
}

bool BatchSender::IsAnswered(const Batch& batch) {
  rpc::MutexLock lock(mu_);
  return batch.state == Batch::State::kAnswered;
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
  while (true) {
    {
      rpc::MutexLock lock(mu_);
      const bool is_answered = mu_.AwaitFor(
          kPause, [&] { return oldest.state == Batch::State::kAnswered; });
      if (is_answered) break;
    }
    const std::string_view away = AskWhoIsAway();
    if (!away.empty()) options_.on_wait(away);
    StartAgain(away.empty());
  }
  std::vector<Submission> submissions = std::move(oldest.submissions);
  in_flight_.pop_front();
  return submissions;
}

}  // namespace tandem::node

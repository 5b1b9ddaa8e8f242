#include "rpc/server/worker_pool.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem::rpc {
namespace {

// Lines that are kept for the next connections.
constexpr std::size_t kSpares = 16;

}  // namespace

WorkerPool::WorkerPool(int workers, int max_queued, Clients clients)
    : max_queued_(max_queued),
      max_queued_of_one_(
          clients == Clients::kOne ? max_queued : std::max(1, max_queued / 2)),
      max_running_of_one_(clients == Clients::kOne ? workers
                                                   : workers - workers / 4) {
  for (int i = 0; i < workers; ++i) {
    workers_.emplace_back([this] { Work(); });
  }
}

WorkerPool::~WorkerPool() { Stop(); }

absl::Status WorkerPool::Submit(std::uint64_t connection, Job* job) {
  std::size_t queued;
  return Submit(connection, {&job, 1}, &queued);
}

absl::Status WorkerPool::Submit(std::uint64_t connection,
                                std::span<Job* const> jobs,
                                std::size_t* queued) {
  *queued = 0;
  absl::Status status;
  bool wakes;
  {
    MutexLock lock(mu_);
    if (stopping_) return absl::UnavailableError("the server is stopping");
    for (Job* const job : jobs) {
      status = Queue(connection, job);
      if (!status.ok()) break;
      ++*queued;
    }
    wakes = TakeWakeUp();
  }
  // Unlocked: else it wakes only to wait for us.
  if (wakes) mu_.NotifyOne();
  return status;
}

absl::Status WorkerPool::Queue(std::uint64_t connection, Job* job) {
  if (queued_ >= max_queued_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the server is busy: ", queued_, " calls wait for its ",
                     workers_.size(), " workers; call again later"));
  }
  Line& line = LineOf(connection);
  if (line.queued >= max_queued_of_one_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "connection ", connection, " has its share of the server's queue: ",
        line.queued, " of its calls wait for a worker; call again later"));
  }
  const bool was_ready = IsReady(line);
  job->next_ = nullptr;
  (line.head == nullptr ? line.head : line.tail->next_) = job;
  line.tail = job;
  ++line.queued;
  ++queued_;
  // Else the worker that ends a job of this connection takes this one.
  if (!was_ready && IsReady(line)) Append(line);
  return absl::OkStatus();
}

bool WorkerPool::TakeWakeUp() {
  if (first_ == nullptr || idle_ == 0 || is_waking_) return false;
  is_waking_ = true;
  return true;
}

void WorkerPool::Stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    mu_.NotifyAll();
  }
  for (std::thread& worker : std::exchange(workers_, {})) worker.join();
}

void WorkerPool::Work() {
  MutexLock lock(mu_);
  while (AwaitJob()) {
    Job* job = nullptr;
    Line& line = TakeJob(&job);
    const bool wakes = TakeWakeUp();
    mu_.Unlock();
    if (wakes) mu_.NotifyOne();
    job->Run();
    mu_.Lock();
    EndJob(line);
  }
}

bool WorkerPool::AwaitJob() {
  if (first_ == nullptr && !stopping_) {
    ++idle_;
    bool has_slept = false;
    mu_.Await([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      // Who wakes finds that another has taken the job, sometimes.
      if (has_slept) is_waking_ = false;
      has_slept = true;
      return first_ != nullptr || stopping_;
    });
    --idle_;
  }
  // What is queued when it stops is left to the workers that run jobs of the
  // same connection.
  return first_ != nullptr;
}

WorkerPool::Line& WorkerPool::LineOf(std::uint64_t connection) {
  const auto found = lines_.find(connection);
  if (found != lines_.end()) return found->second;
  if (spares_.empty()) {
    return lines_.emplace(connection, Line{.connection = connection})
        .first->second;
  }
  Lines::node_type line = std::move(spares_.back());
  spares_.pop_back();
  line.key() = connection;
  line.mapped() = {.connection = connection};
  return lines_.insert(std::move(line)).position->second;
}

void WorkerPool::Append(Line& line) {
  line.next = nullptr;
  (first_ == nullptr ? first_ : last_->next) = &line;
  last_ = &line;
}

WorkerPool::Line& WorkerPool::TakeJob(Job** job) {
  Line& line = *std::exchange(first_, first_->next);
  *job = std::exchange(line.head, line.head->next_);
  --line.queued;
  --queued_;
  ++line.running;
  if (IsReady(line)) Append(line);
  return line;
}

void WorkerPool::EndJob(Line& line) {
  const bool was_ready = IsReady(line);
  --line.running;
  if (IsReady(line)) {
    if (!was_ready) Append(line);
    return;
  }
  if (line.running > 0) return;
  Lines::node_type idle = lines_.extract(line.connection);
  if (spares_.size() < kSpares) spares_.push_back(std::move(idle));
}

}  // namespace tandem::rpc

#include "rpc/server/worker_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem::rpc {

WorkerPool::WorkerPool(int workers, int max_queued) : max_queued_(max_queued) {
  for (int i = 0; i < workers; ++i) {
    workers_.emplace_back([this] { Work(); });
  }
}

WorkerPool::~WorkerPool() { Stop(); }

absl::Status WorkerPool::Submit(Job* job) {
  MutexLock lock(mu_);
  if (stopping_) return absl::UnavailableError("the server is stopping");
  if (queued_ >= max_queued_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the server is busy: ", queued_, " calls wait for its ",
                     workers_.size(), " workers; call again later"));
  }
  job->next_ = nullptr;
  (head_ == nullptr ? head_ : tail_->next_) = job;
  tail_ = job;
  ++queued_;
  mu_.NotifyOne();
  return absl::OkStatus();
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
  for (;;) {
    mu_.Await([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return head_ != nullptr || stopping_;
    });
    if (head_ == nullptr) return;
    Job* const job = std::exchange(head_, head_->next_);
    --queued_;
    mu_.Unlock();
    job->Run();
    mu_.Lock();
  }
}

}  // namespace tandem::rpc

#include "rpc/client/cancellation.h"

#include <utility>

namespace tandem::rpc {

void Cancellation::Cancel() {
  MutexLock lock(mu_);
  if (std::exchange(cancelled_, true)) return;
  while (!callbacks_.empty()) {
    auto callback = callbacks_.extract(callbacks_.begin());
    running_ = callback.key();
    running_on_ = std::this_thread::get_id();
    mu_.Unlock();
    callback.mapped()();
    callback.mapped() = nullptr;
    mu_.Lock();
    running_ = 0;
    running_on_ = {};
    mu_.NotifyAll();
  }
}

bool Cancellation::is_cancelled() const {
  MutexLock lock(mu_);
  return cancelled_;
}

std::uint64_t Cancellation::Add(std::function<void()> callback) {
  {
    MutexLock lock(mu_);
    if (!cancelled_) {
      callbacks_.emplace(next_key_, std::move(callback));
      return next_key_++;
    }
  }
  callback();
  return 0;
}

void Cancellation::Remove(std::uint64_t key) {
  if (key == 0) return;
  MutexLock lock(mu_);
  callbacks_.erase(key);
  if (running_on_ == std::this_thread::get_id()) return;
  mu_.Await([this, key]()
                ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return running_ != key; });
}

}  // namespace tandem::rpc

#include "rpc/server/call.h"

#include <utility>

namespace tandem::rpc {

void Call::OnCancel(std::function<void()> callback) {
  {
    MutexLock lock(mu_);
    if (!is_cancelled()) {
      on_cancel_ = std::move(callback);
      return;
    }
  }
  callback();
}

void Call::Restart(ActiveCall active) {
  active_ = std::move(active);
  deadline_ = absl::InfiniteFuture();
  metadata_.clear();
  cancelled_.store(false, std::memory_order_relaxed);
}

void Call::MarkCancelled() {
  std::function<void()> callback;
  {
    MutexLock lock(mu_);
    cancelled_.store(true, std::memory_order_release);
    callback = std::exchange(on_cancel_, nullptr);
  }
  if (callback) callback();
}

void Call::ForgetCallback() {
  std::function<void()> callback;
  MutexLock lock(mu_);
  callback = std::exchange(on_cancel_, nullptr);
}

}  // namespace tandem::rpc

#include "rpc/client/cancellation.h"

#include <utility>

namespace tandem::rpc {

void Cancellation::Cancel() {
  // A callback may let go of the last copy but this.
  const std::shared_ptr<State> kept = state_;
  State& state = *kept;
  MutexLock lock(state.mu);
  if (std::exchange(state.cancelled, true)) return;
  while (!state.callbacks.empty()) {
    auto callback = state.callbacks.extract(state.callbacks.begin());
    state.running = callback.key();
    state.running_on = std::this_thread::get_id();
    state.mu.Unlock();
    callback.mapped()();
    callback.mapped() = nullptr;
    state.mu.Lock();
    state.running = 0;
    state.running_on = {};
    state.mu.NotifyAll();
  }
}

bool Cancellation::is_cancelled() const {
  State& state = *state_;
  MutexLock lock(state.mu);
  return state.cancelled;
}

std::uint64_t Cancellation::Add(std::function<void()> callback) {
  State& state = *state_;
  {
    MutexLock lock(state.mu);
    if (!state.cancelled) {
      state.callbacks.emplace(state.next_key, std::move(callback));
      return state.next_key++;
    }
  }
  callback();
  return 0;
}

void Cancellation::Remove(std::uint64_t key) {
  if (key == 0) return;
  State& state = *state_;
  MutexLock lock(state.mu);
  state.callbacks.erase(key);
  if (state.running_on == std::this_thread::get_id()) return;
  state.mu.Await([&state, key]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mu) {
    return state.running != key;
  });
}

}  // namespace tandem::rpc

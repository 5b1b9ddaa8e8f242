#include "tests/bench/wire/closed_loop.h"

#include <algorithm>
#include <thread>

namespace tandem::bench {
namespace {

// Where fewer are in flight every call is timed.
constexpr int kMany = 8;
constexpr std::int64_t kEvery = 16;
constexpr std::size_t kTimesAtFirst = 1 << 16;

}  // namespace

ClosedLoop::ClosedLoop(const Cell& cell)
    : seconds_(cell.seconds),
      calls_of_each_(cell.calls == 0
                         ? 0
                         : std::max<std::int64_t>(cell.calls / cell.depth, 1)),
      every_(cell.depth > kMany ? kEvery : 1),
      slots_(static_cast<std::size_t>(cell.depth)),
      running_(cell.depth) {
  for (Slot& slot : slots_) slot.micros.reserve(kTimesAtFirst / slots_.size());
}

void ClosedLoop::Start() {
  begun_ = NowNanos();
  end_ = begun_ + static_cast<std::int64_t>(seconds_ * 1e9);
  for (Slot& slot : slots_) slot.begun = begun_;
}

absl::StatusOr<Figures> ClosedLoop::RunBlocking(
    const std::function<absl::Status()>& call) {
  const auto run = [&](Slot& slot) {
    while (Next(slot, call())) {
    }
  };
  if (slots_.size() == 1) return Run(run);
  std::vector<std::thread> threads;
  auto figures = Run(
      [&](Slot& slot) { threads.emplace_back([&run, &slot] { run(slot); }); });
  for (std::thread& thread : threads) thread.join();
  return figures;
}

void ClosedLoop::End(const absl::Status& status) {
  if (!status.ok()) is_over_ = true;
  rpc::MutexLock lock(mu_);
  status_.Update(status);
  if (--running_ == 0) mu_.NotifyAll();
}

absl::StatusOr<Figures> ClosedLoop::Wait() {
  rpc::MutexLock lock(mu_);
  mu_.Await([this]()
                ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return running_ == 0; });
  const double seconds = static_cast<double>(NowNanos() - begun_) / 1e9;
  if (!status_.ok()) return status_;
  std::int64_t calls = 0;
  std::vector<float> micros;
  for (const Slot& slot : slots_) {
    calls += slot.calls;
    micros.insert(micros.end(), slot.micros.begin(), slot.micros.end());
  }
  return Summarize(calls, seconds, micros);
}

}  // namespace tandem::bench

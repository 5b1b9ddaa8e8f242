// Keeps calls in flight for a while.

#ifndef TANDEM_TESTS_BENCH_WIRE_CLOSED_LOOP_H_
#define TANDEM_TESTS_BENCH_WIRE_CLOSED_LOOP_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/base/mutex.h"
#include "tests/bench/wire/cell.h"

namespace tandem::bench {

// Runs one cell of Kind::kCalls.
//
// Thread safety: thread-safe; but one thread at a time has a slot.
class ClosedLoop {
 public:
  // A call in flight, then the one that its answer leads to, and so on.
  struct Slot {
    std::int64_t begun = 0;  // 0: this call is not timed
    std::int64_t calls = 0;
    std::vector<float> micros;
  };

  explicit ClosedLoop(const Cell& cell);

  // Has `begin(Slot&)` begin a call of each slot; returns when all are over.
  // Whoever ends a call says Next(), and begins another of the slot if that is
  // true.
  template <typename Begin>
  absl::StatusOr<Figures> Run(Begin begin) {
    Start();
    for (Slot& slot : slots_) begin(slot);
    return Wait();
  }
  // The same with calls that block, each slot in a thread of its own; with one
  // slot, in this thread. `call()` returns its status.
  absl::StatusOr<Figures> RunBlocking(
      const std::function<absl::Status()>& call);

  // A call has ended; whether the slot goes on.
  bool Next(Slot& slot, const absl::Status& status) {
    ++slot.calls;
    if (slot.begun != 0) {
      slot.micros.push_back(MicrosSince(slot.begun));
      if (calls_of_each_ == 0 && NowNanos() >= end_) is_over_ = true;
    }
    if (!status.ok() || slot.calls == calls_of_each_ || is_over_) {
      End(status);
      return false;
    }
    slot.begun = slot.calls % every_ == 0 ? NowNanos() : 0;
    return true;
  }

 private:
  void Start();
  absl::StatusOr<Figures> Wait() ABSL_LOCKS_EXCLUDED(mu_);
  void End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  const double seconds_;
  const std::int64_t calls_of_each_;
  // As many calls of a slot are between two that are timed: the clock costs,
  // too.
  const std::int64_t every_;
  std::int64_t begun_ = 0;
  std::int64_t end_ = 0;
  std::atomic<bool> is_over_{false};
  std::vector<Slot> slots_;

  rpc::Mutex mu_;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_CLOSED_LOOP_H_

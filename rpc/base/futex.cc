#include "rpc/base/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "absl/time/clock.h"

namespace tandem::rpc {
namespace {

// Longer than any deadline that is meant.
constexpr absl::Duration kLongest = absl::Hours(24 * 365);

}  // namespace

void SleepWhile(const std::atomic<std::uint32_t>& word, std::uint32_t value,
                absl::Time deadline) {
  static_assert(sizeof(word) == sizeof(std::uint32_t));
  const absl::Duration left = deadline - absl::Now();
  if (left <= absl::ZeroDuration()) return;
  const timespec timeout = absl::ToTimespec(std::min(left, kLongest));
  ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, &timeout, nullptr, 0);
}

void WakeSleeper(const std::atomic<std::uint32_t>* word) {
  ::syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace tandem::rpc

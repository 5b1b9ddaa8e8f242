// Waits for a state that nothing announces.

#ifndef TANDEM_TESTS_SUPPORT_EVENTUALLY_H_
#define TANDEM_TESTS_SUPPORT_EVENTUALLY_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tandem::test {

// True as soon as `holds()` is; false when it is not within a generous limit.
template <typename Holds>
bool Eventually(Holds holds) {
  const absl::Time limit = absl::Now() + absl::Seconds(20);
  while (!holds()) {
    if (absl::Now() > limit) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

}  // namespace tandem::test

#endif  // TANDEM_TESTS_SUPPORT_EVENTUALLY_H_

// When a program that ended is started again.

#ifndef TANDEM_NODE_CLI_RESTART_POLICY_H_
#define TANDEM_NODE_CLI_RESTART_POLICY_H_

#include <optional>

#include "absl/time/time.h"

namespace tandem::node {

// A program that ran for kRanWell is started again at once. One that ends
// sooner, time after time, is given pauses that double, and is given up after
// its kMostInARow-th end, which is within a minute of the first.
//
// Thread safety: thread-compatible.
class RestartPolicy {
 public:
  static constexpr absl::Duration kRanWell = absl::Seconds(10);
  static constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
  static constexpr int kMostInARow = 5;

  // The program ended, `ran` after its start. Returns how long to wait before
  // it is started again; nothing when it is to be given up.
  std::optional<absl::Duration> Ended(absl::Duration ran) {
    in_a_row_ = ran >= kRanWell ? 1 : in_a_row_ + 1;
    if (in_a_row_ >= kMostInARow) return std::nullopt;
    if (in_a_row_ == 1) return absl::ZeroDuration();
    return kFirstPause * (1 << (in_a_row_ - 2));
  }

 private:
  int in_a_row_ = 0;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_RESTART_POLICY_H_

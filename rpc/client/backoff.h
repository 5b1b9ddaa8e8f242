// How long to wait before the next try to connect.

#ifndef TANDEM_RPC_CLIENT_BACKOFF_H_
#define TANDEM_RPC_CLIENT_BACKOFF_H_

#include <algorithm>
#include <random>

#include "absl/time/time.h"

namespace tandem::rpc {

// 5 ms, twice as long after each try up to 200 ms; half of each is random, so
// that clients of one server do not come back together. A file in the way
// answers a try at once, so trying often costs little and finds a restarted
// server soon.
//
// Thread safety: thread-compatible.
class Backoff {
 public:
  absl::Duration Next() {
    const absl::Duration longest = pause_;
    pause_ = std::min(pause_ * 2, kLongest);
    return longest * std::uniform_real_distribution<double>(0.5, 1)(random_);
  }
  // After a success.
  void Reset() { pause_ = kShortest; }

 private:
  static constexpr absl::Duration kShortest = absl::Milliseconds(5);
  static constexpr absl::Duration kLongest = absl::Milliseconds(200);

  absl::Duration pause_ = kShortest;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_BACKOFF_H_

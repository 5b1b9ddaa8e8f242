// The real programs, on a directory of their own.

#ifndef TANDEM_TESTS_BENCH_PAIR_H_
#define TANDEM_TESTS_BENCH_PAIR_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/client/channel.h"
#include "rpc/testing/process.h"

namespace tandem::bench {

// tandem-kvstore and tandem-node, which end with the object. Each of their
// starts returns without waiting until they answer.
//
// Thread safety: thread-compatible.
class Pair {
 public:
  // Starts both on what is in `directory`.
  static absl::StatusOr<std::unique_ptr<Pair>> Start(
      const std::string& directory);

  // Ends a program at once (SIGKILL); returns when it is gone.
  void KillApp() { app_.reset(); }
  void KillNode() { node_.reset(); }
  absl::Status StartApp();
  absl::Status StartNode();

  pid_t app() const { return app_->pid(); }
  pid_t node() const { return node_->pid(); }
  // To the node, across its restarts.
  rpc::Channel& channel() { return *channel_; }

 private:
  explicit Pair(const std::string& directory);

  const std::string directory_;
  std::unique_ptr<rpc::testing::Process> app_;
  std::unique_ptr<rpc::testing::Process> node_;
  std::unique_ptr<rpc::Channel> channel_;
};

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_PAIR_H_

// Transactions for the pair to commit.

#ifndef TANDEM_TESTS_BENCH_LOAD_H_
#define TANDEM_TESTS_BENCH_LOAD_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/base/mutex.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem::bench {

// 64 bytes that no other number gives.
std::string Transaction(std::uint64_t number);

// Commits one transaction; node and application may still be starting, and are
// tried every millisecond.
absl::Status CommitOne(node::v1::NodeClient& client, std::uint64_t number);

// Commits many transactions, several batches in flight.
//
// Thread safety: thread-compatible.
class Load {
 public:
  struct Options {
    int batch = 1000;  // transactions per SubmitBatch
    int in_flight = 4;
  };

  // The client outlives the load.
  Load(node::v1::NodeClient& client, const Options& options);

  absl::Status Run(std::uint64_t first, std::uint64_t count);

 private:
  void WaitRoom(int most) ABSL_LOCKS_EXCLUDED(mu_);
  void Send(std::uint64_t first, std::uint64_t count) ABSL_LOCKS_EXCLUDED(mu_);

  node::v1::NodeClient& client_;
  const Options options_;
  rpc::Mutex mu_;
  int in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_LOAD_H_

// Looks for damage in what a node keeps, while no node runs.

#ifndef TANDEM_NODE_STORE_CHECK_H_
#define TANDEM_NODE_STORE_CHECK_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem::node {

// Where an application says that it is.
struct AppPosition {
  std::int64_t height = 0;
  std::string app_hash;
};

struct StoreReport {
  std::string chain_id;
  // Of the node's state; 0 before the first block.
  std::int64_t height = 0;
  std::string app_hash;
  // The blocks that are there; 0 while there is none. The last one is that of
  // the state, or one more when the node stopped in between.
  std::int64_t first_block = 0;
  std::int64_t last_block = 0;
  std::int64_t transactions = 0;

  struct Fault {
    std::int64_t height = 0;  // of the block; 0: of none
    std::string what;
    std::string remedy;
  };
  // By height; at most kMostFaults, and then one more that says so.
  static constexpr std::size_t kMostFaults = 100;
  std::vector<Fault> faults;
};

// Reads all that the directory of a node holds and compares: files with their
// checksums, the genesis with the marker, blocks with their hashes, with each
// other, with the saved responses and the state, transactions with their
// index; `app`, if given, with the chain (the table of node/recovery.h).
// Changes nothing; calls `progress` with the blocks that are done and all.
//
// Errors: what keeps it from looking, such as a node that runs there
// (kFailedPrecondition), or no directory (kNotFound). What it finds is no
// error.
absl::StatusOr<StoreReport> CheckStore(
    const std::string& directory, const std::optional<AppPosition>& app,
    const std::function<void(std::int64_t done, std::int64_t all)>& progress);

}  // namespace tandem::node

#endif  // TANDEM_NODE_STORE_CHECK_H_

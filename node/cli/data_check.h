// What is wrong with the data of a pair that does not run.

#ifndef TANDEM_NODE_CLI_DATA_CHECK_H_
#define TANDEM_NODE_CLI_DATA_CHECK_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "rpc/socket/diagnosis.h"

namespace tandem::node {

// What was found in the directory of one of the two.
struct DataReport {
  std::string directory;
  std::vector<rpc::Finding> findings;
  nlohmann::ordered_json json;  // the same, with more facts
};

// Examines DIR/app, by `tandem-kvstore --check`, and DIR/node, and whether they
// belong together. Changes nothing, and keeps both programs from starting
// meanwhile. Shows on a terminal how far it is.
//
// Errors: what keeps it from running `tandem-kvstore`.
absl::StatusOr<std::vector<DataReport>> CheckData(const std::string& path);

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_DATA_CHECK_H_

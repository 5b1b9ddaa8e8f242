// The real programs together: tandem-kvstore and tandem-node, each in a process
// of its own that a test may kill.
//
// The node records what passes between them. In the end the trace is held
// against the app contract (proto/abci/contract_checker.h), and the test fails
// where it was broken.

#ifndef TANDEM_TESTS_PAIR_PAIR_H_
#define TANDEM_TESTS_PAIR_PAIR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "rpc/testing/process_pair.h"
#include "tandem/node/v1/node.pb.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem {

class Pair {
 public:
  // `node_arguments` come after those that every node has.
  explicit Pair(std::vector<std::string> node_arguments = {});

  // Kills both, and checks the trace.
  ~Pair();

  // Starts both, and waits until the first block.
  absl::Status Start();

  // Submits and waits for the commit. An error of the call; else one result for
  // each transaction.
  absl::StatusOr<node::v1::SubmitBatchReply> Submit(
      const std::vector<std::string>& txs);
  // Submits one and waits; the height of its block.
  absl::StatusOr<std::int64_t> Commit(const std::string& tx);
  // The value of a key, as the application tells it through the node.
  absl::StatusOr<std::string> Get(const std::string& key);
  absl::StatusOr<node::v1::StatusReply> Status();
  // Waits until the node says this of its application.
  absl::Status Await(node::v1::AppStatus::State state);

  // The application is about to be given older data than it had, or none.
  void AllowOlderState() { allow_older_state_ = true; }
  // What was found in the trace, up to now; empty when nothing was recorded.
  std::vector<std::string> Violations();

  rpc::testing::ProcessPair& app() { return app_; }
  rpc::testing::ProcessPair& node() { return node_; }
  node::v1::NodeClient& client() { return client_; }

 private:
  rpc::testing::ProcessPair app_;
  rpc::testing::ProcessPair node_;
  node::v1::NodeClient client_;
  bool allow_older_state_ = false;
};

}  // namespace tandem

#endif  // TANDEM_TESTS_PAIR_PAIR_H_

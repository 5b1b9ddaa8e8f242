// `tandem watch`: prints committed blocks as they come.

#ifndef TANDEM_NODE_CLI_WATCH_H_
#define TANDEM_NODE_CLI_WATCH_H_

#include <cstdint>
#include <optional>
#include <string>

#include "node/cli/command.h"
#include "node/cli/node_option.h"
#include "rpc/client/cancellation.h"
#include "rpc/server/termination.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem::node {

// Prints each block once and in order, over restarts of the node too. Ends when
// told to (--count, SIGINT, SIGTERM), or when the node comes back with another
// chain.
class WatchCommand final : public Command {
 public:
  explicit WatchCommand(CLI::App& program);

  absl::StatusOr<int> Run(Output& output) override;

 private:
  // Until the process is asked to end; then OK, or kCancelled.
  absl::Status PrintAll(v1::NodeClient& client,
                        const rpc::Termination& termination, Output& output);
  // Sets next_ from --from, or from the node's height.
  absl::Status Begin(v1::NodeClient& client);
  // Prints blocks from next_ on until the node goes away (kUnavailable) or
  // enough were printed (OK).
  absl::Status Follow(v1::NodeClient& client, Output& output);
  // The same chain as before, and not shorter?
  absl::Status CheckChain(const v1::StatusReply& status);
  absl::Status Print(const v1::CommittedBlock& block, Output& output);
  bool IsDone() const { return count_ != 0 && printed_ == count_; }

  NodeOption node_;
  rpc::Cancellation cancellation_;  // Of all calls.
  std::optional<std::int64_t> from_;
  std::uint64_t count_ = 0;
  bool is_json_ = false;

  std::int64_t next_ = 0;
  std::uint64_t printed_ = 0;
  std::string chain_id_;
  std::string last_hash_;  // Of the block before next_; empty before the first.
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_WATCH_H_

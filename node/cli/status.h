// `tandem status`: who listens on a socket, and how it is.

#ifndef TANDEM_NODE_CLI_STATUS_H_
#define TANDEM_NODE_CLI_STATUS_H_

#include "node/cli/command.h"
#include "node/cli/node_option.h"

namespace tandem::node {

// Prints what the server says of itself (Hello) and, of a node, what it knows
// about its chain and its application.
class StatusCommand final : public Command {
 public:
  explicit StatusCommand(CLI::App& program);

  absl::StatusOr<int> Run(Output& output) override;

 private:
  NodeOption server_;
  bool is_json_ = false;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_STATUS_H_

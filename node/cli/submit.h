// `tandem submit`: hands in transactions.

#ifndef TANDEM_NODE_CLI_SUBMIT_H_
#define TANDEM_NODE_CLI_SUBMIT_H_

#include <cstdint>
#include <string>

#include "node/cli/command.h"
#include "node/cli/node_option.h"

namespace tandem::node {

// Reads one transaction per line and hands each to the node. A line that is
// refused is reported with its number and does not stop the rest; the exit
// status is 1 then. SIGINT or SIGTERM ends it after the lines that are on their
// way; the exit status is 128 and the signal then.
class SubmitCommand final : public Command {
 public:
  explicit SubmitCommand(CLI::App& program);

  absl::StatusOr<int> Run(Output& output) override;

 private:
  NodeOption node_;
  std::string file_ = "-";
  std::string wait_ = "commit";
  double timeout_seconds_ = 60;
  bool is_hex_ = false;
  bool is_json_ = false;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_SUBMIT_H_

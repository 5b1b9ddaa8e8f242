// `tandem tx`: says what became of transactions.

#ifndef TANDEM_NODE_CLI_TRANSACTION_H_
#define TANDEM_NODE_CLI_TRANSACTION_H_

#include <string>
#include <vector>

#include "node/cli/command.h"
#include "node/cli/node_option.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem::node {

// Looks transactions up by their hashes. The exit status is 1 unless all are
// committed with code 0.
class TransactionCommand final : public Command {
 public:
  explicit TransactionCommand(CLI::App& program);

  absl::StatusOr<int> Run(Output& output) override;

 private:
  // Asks for one and prints the answer; returns whether it is committed with
  // code 0.
  absl::StatusOr<bool> Ask(v1::NodeClient& client, const std::string& text,
                           Output& output) const;

  NodeOption node_;
  std::vector<std::string> hashes_;
  bool is_json_ = false;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_TRANSACTION_H_

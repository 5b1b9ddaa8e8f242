// `tandem query`: asks the application about committed state.

#ifndef TANDEM_NODE_CLI_QUERY_H_
#define TANDEM_NODE_CLI_QUERY_H_

#include <string>
#include <vector>

#include "node/cli/command.h"
#include "node/cli/node_option.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem::node {

// Prints the value of a key. The exit status is 1 when the application has
// none, or answers with a code that is not 0.
class QueryCommand final : public Command {
 public:
  explicit QueryCommand(CLI::App& program);

  absl::StatusOr<int> Run(Output& output) override;

 private:
  // Asks for one key and prints the answer; returns whether there is a value.
  absl::StatusOr<bool> Ask(v1::NodeClient& client, const std::string& text,
                           Output& output) const;

  NodeOption node_;
  std::vector<std::string> keys_;
  std::string path_;
  bool is_hex_ = false;
  bool is_json_ = false;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_QUERY_H_

// `tandem trace`: what passed between a node and its application.

#ifndef TANDEM_NODE_CLI_TRACE_H_
#define TANDEM_NODE_CLI_TRACE_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "node/cli/command.h"

namespace tandem::node {

// Reads a file that --record wrote. `check` finds what is against the app
// contract: exit status 1 when something is. `show` prints the records.
class TraceCommand final : public Command {
 public:
  explicit TraceCommand(CLI::App& program);

  absl::StatusOr<int> Run(Output& output) override;

 private:
  absl::StatusOr<int> Check(Output& output) const;
  absl::StatusOr<int> Show(Output& output) const;

  CLI::App* const check_;
  CLI::App* const show_;
  std::string path_;
  bool allow_older_state_ = false;
  bool is_json_ = false;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_TRACE_H_

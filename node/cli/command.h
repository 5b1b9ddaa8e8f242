// One subcommand of the tandem program.

#ifndef TANDEM_NODE_CLI_COMMAND_H_
#define TANDEM_NODE_CLI_COMMAND_H_

#include <CLI/CLI.hpp>

#include "absl/status/statusor.h"
#include "node/cli/output.h"

namespace tandem::node {

// Its constructor adds it to the command line, and says what its options are.
//
// Thread safety: thread-bound, to the main thread.
class Command {
 public:
  virtual ~Command() = default;

  // True when the command line that was parsed names it.
  bool is_chosen() const { return app_->parsed(); }

  // Does what it is for; returns the exit status of the process. An error makes
  // it 1 and is printed.
  virtual absl::StatusOr<int> Run(Output& output) = 0;

 protected:
  // `app` outlives this.
  explicit Command(CLI::App* app) : app_(app) {}

  CLI::App& app() const { return *app_; }

 private:
  CLI::App* app_;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_COMMAND_H_

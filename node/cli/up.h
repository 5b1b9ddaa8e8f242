// `tandem up`: runs an application and a node, together.

#ifndef TANDEM_NODE_CLI_UP_H_
#define TANDEM_NODE_CLI_UP_H_

#include <memory>
#include <string>

#include "node/cli/child_process.h"
#include "node/cli/command.h"
#include "node/cli/pair_directory.h"

namespace tandem::node {

// Starts tandem-kvstore and tandem-node, which it finds beside its own program,
// on a data directory; says when they are ready; stops both, the node first, on
// SIGINT or SIGTERM, and exits with 0. When one of them ends by itself, it
// stops the other and exits with 1. They do not outlive it.
class UpCommand final : public Command {
 public:
  explicit UpCommand(CLI::App& program);

  // Call it before the process has another thread.
  absl::StatusOr<int> Run(Output& output) override;

 private:
  // What ended a wait.
  enum class Event {
    kTimeout,
    kSignal,  // SIGINT or SIGTERM.
    kEnded,   // One of the children.
  };

  absl::Status StartBoth();
  // Waits until the node commits what it is given, or an event.
  absl::StatusOr<Event> WaitReady();
  absl::Status SayReady(Output& output) const;
  Event WaitEvent(absl::Duration timeout) const;
  // An error that says which child ended, and how.
  absl::Status WhoEnded();
  absl::Status StopBoth();
  absl::Status Stop(ChildProcess& child) const;

  std::string data_;
  std::string genesis_;
  std::string validator_key_;
  double start_seconds_ = 300;
  std::string allow_shared_directory_;
  bool is_json_ = false;

  rpc::UniqueFd signals_;
  // The directory is unlocked after the children have ended.
  std::unique_ptr<PairDirectory> directory_;
  std::unique_ptr<ChildProcess> app_;
  std::unique_ptr<ChildProcess> node_;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_UP_H_

// `tandem up`: runs an application and a node, together.

#ifndef TANDEM_NODE_CLI_UP_H_
#define TANDEM_NODE_CLI_UP_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "node/cli/child_process.h"
#include "node/cli/command.h"
#include "node/cli/json.h"
#include "node/cli/pair_directory.h"
#include "node/cli/restart_policy.h"
#include "rpc/client/channel.h"

namespace tandem::node {

// Starts tandem-kvstore and tandem-node, which it finds beside its own program,
// on a data directory; says when they are ready; stops both, the node first, on
// SIGINT or SIGTERM, and exits with 0. They do not outlive it.
//
// One that ends by itself, however it does, is started again (RestartPolicy).
// It says so, and says again when both are ready. But it stops the other and
// exits with 1, with the reason, when one
//   ended too often in a row,
//   exited before both were ready for the first time: it refuses what it is
//     given,
//   is a node with whose application no restart helps (its exit status 3),
//   ended, with --no-restart.
class UpCommand final : public Command {
 public:
  explicit UpCommand(CLI::App& program);

  // Call it on the main thread, before the process has another one.
  absl::StatusOr<int> Run(Output& output) override;

 private:
  // One of the two.
  struct Program {
    const std::string role;  // "app" or "node"
    std::vector<std::string> argv;
    // Null while it waits to be started again, which it is at `due`.
    std::unique_ptr<ChildProcess> process;
    absl::Time started;
    absl::Time due;
    RestartPolicy restarts;
  };

  absl::Status PrepareBoth();
  static absl::Status Start(Program& program);

  // Keeps both running until a signal; an error when that cannot be.
  absl::Status Supervise(Output& output);
  // Waits for a signal, for the end of a child, or until `until`; returns
  // whether it was a signal.
  bool WaitSignal(absl::Time until) const;
  // Sees to a program that has ended, or is due.
  absl::Status Mend(Program& program, Output& output);
  // Says that it has ended; returns when it is to be started again, or why not.
  absl::Status NoteEnd(Program& program, Output& output);
  absl::StatusOr<absl::Duration> PauseAfterEnd(Program& program) const;
  absl::Status StartAgain(Program& program, Output& output);

  // Begins to ask the node whether it commits what it is given.
  absl::Status BeginToAsk();
  // Asks it once, and says so if it does.
  absl::Status Ask(Output& output);
  absl::Status SayReady(Output& output);
  absl::Status Say(std::string_view text, Output& output) const;
  // Says it with --json only.
  absl::Status SayEvent(const nlohmann::ordered_json& event,
                        Output& output) const;

  absl::Status StopBoth();
  absl::Status Stop(Program& program) const;

  std::string data_;
  std::string genesis_;
  std::string validator_key_;
  std::string record_;
  double start_seconds_ = 300;
  std::string allow_shared_directory_;
  bool is_restart_off_ = false;
  bool is_json_ = false;

  rpc::UniqueFd signals_;
  // The directory is unlocked after the children have ended.
  std::unique_ptr<PairDirectory> directory_;
  Program app_{.role = "app"};
  Program node_{.role = "node"};

  bool was_ready_ = false;  // at least once
  absl::Time deadline_;     // for that
  // To the node, while it is asked; null while both are ready.
  std::unique_ptr<rpc::Channel> channel_;
  absl::Time asked_since_;
  std::string said_reason_;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_UP_H_

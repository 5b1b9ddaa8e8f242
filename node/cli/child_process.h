// A program that runs as a child of this process.

#ifndef TANDEM_NODE_CLI_CHILD_PROCESS_H_
#define TANDEM_NODE_CLI_CHILD_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/unique_fd.h"

namespace tandem::node {

// Owns a child. The child has a process group of its own, so that a Ctrl-C on
// the terminal reaches this process alone; it writes where our standard error
// goes; it inherits no other descriptor, nor NOTIFY_SOCKET; it is killed when
// the thread that started it ends, however that comes about.
//
// Lifecycle: the destructor kills the child if it still runs, and reaps it.
// Thread safety: thread-bound. Start children from the main thread, which lives
// as long as the process. Other threads may exist, whatever they hold.
class ChildProcess {
 public:
  // Runs argv[0], a path, with `argv`.
  // Errors: those of execve(2), with the path.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(
      std::vector<std::string> argv);

  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // "tandem-node (pid 12)".
  std::string name() const;

  // Becomes readable when the child has ended.
  int pidfd() const { return pidfd_.get(); }

  // Sends a signal, unless the child has ended.
  void Signal(int signal);

  // Waits for the child to end, at most for `timeout`; returns whether it has.
  bool WaitEnded(absl::Duration timeout);

  // Once it has ended: nothing when a signal ended it.
  std::optional<int> exit_status() const { return exit_status_; }
  // Once it has ended: "was ended by signal 9 (Killed)", "exited with status
  // 1".
  const std::string& ending() const { return ending_; }

 private:
  ChildProcess(std::string path, pid_t pid, rpc::UniqueFd pidfd);

  const std::string path_;
  const pid_t pid_;
  const rpc::UniqueFd pidfd_;
  bool has_ended_ = false;
  std::optional<int> exit_status_;
  std::string ending_;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_CHILD_PROCESS_H_

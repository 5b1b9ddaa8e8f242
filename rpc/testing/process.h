// A program that a test runs.

#ifndef TANDEM_RPC_TESTING_PROCESS_H_
#define TANDEM_RPC_TESTING_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"

namespace tandem::rpc::testing {

struct ProcessOptions {
  // The program's path, then its arguments.
  std::vector<std::string> command = {};
  // Takes standard output and error, behind what it holds already.
  std::string log_path = {};
  // "NAME=value", over the test's own environment.
  std::vector<std::string> environment = {};
  // What the program reads as standard input; unset: nothing.
  std::optional<std::string> input_path = std::nullopt;
};

// One run of a program. It does not outlive the test: the kernel kills it when
// the test dies, however that happens.
//
// Lifecycle: runs from Start() until it exits. The destructor kills it
// (SIGKILL) and waits for its end.
//
// Thread safety: thread-safe.
class Process {
 public:
  // Errors: kNotFound, kPermissionDenied: what the kernel said to the program's
  // path.
  static absl::StatusOr<std::unique_ptr<Process>> Start(ProcessOptions options);

  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }

  // Sends a signal. Errors: kNotFound once the program has ended.
  absl::Status Signal(int signal) ABSL_LOCKS_EXCLUDED(mu_);

  // Waits for the end. Returns what a shell would: the exit status, or 128 +
  // the signal that ended it. Errors: kDeadlineExceeded.
  absl::StatusOr<int> Wait(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mu_);

  bool is_running() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  Process() = default;

  // The life of thread_: starts the program, tells Start(), waits for its end.
  // The kernel ties the program to the thread that started it, so it must be
  // one that lives as long.
  void Run(const ProcessOptions& options) ABSL_LOCKS_EXCLUDED(mu_);

  // Constant once Start() has returned.
  pid_t pid_ = 0;

  mutable Mutex mu_;
  // Set once the program runs, or could not be started.
  std::optional<absl::Status> started_ ABSL_GUARDED_BY(mu_);
  std::optional<int> result_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace tandem::rpc::testing

#endif  // TANDEM_RPC_TESTING_PROCESS_H_

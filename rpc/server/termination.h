// Notices that the process is asked to end.

#ifndef TANDEM_RPC_SERVER_TERMINATION_H_
#define TANDEM_RPC_SERVER_TERMINATION_H_

#include <signal.h>

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/unique_fd.h"

namespace tandem::rpc {

// Takes SIGTERM and SIGINT for as long as it lives, on whatever thread they
// arrive, so it may be made before or after other threads. Each of the two ends
// the process when it comes again: a second Ctrl-C does not wait for a graceful
// stop. A signal that the process ignores (nohup) stays ignored. Programs that
// we start inherit nothing of it.
//
// Thread safety: thread-safe.
class Termination {
 public:
  // Errors: kFailedPrecondition when there is one already; kResourceExhausted
  // (descriptors).
  static absl::StatusOr<std::unique_ptr<Termination>> Create();
  ~Termination();
  Termination(const Termination&) = delete;
  Termination& operator=(const Termination&) = delete;

  // Waits for a signal, at most for `timeout`; true once there was one.
  bool Wait(absl::Duration timeout) const;

  // Ends the wait as a signal does, without being one: those that come are
  // taken as ever.
  void Request();

  // The signal that came first; 0 while there was none.
  int signal() const;

  // Becomes readable with the signal; for poll(2), not to be read from.
  int fd() const { return event_.get(); }

 private:
  explicit Termination(UniqueFd event);

  const UniqueFd event_;
  // What was in force before.
  struct sigaction terminate_;
  struct sigaction interrupt_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_TERMINATION_H_

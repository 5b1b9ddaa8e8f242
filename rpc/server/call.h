// What a handler sees of a call, whatever the wire.

#ifndef TANDEM_RPC_SERVER_CALL_H_
#define TANDEM_RPC_SERVER_CALL_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>

#include "absl/time/time.h"
#include "rpc/base/mutex.h"

namespace tandem::rpc {

// How a call travels.
enum class Wire : std::uint8_t { kInProcess, kGrpc };

// "in-process", "grpc".
std::string_view WireName(Wire wire);

// Who is calling, as the kernel said when the connection was made: the
// effective ids of the process that called connect(2).
struct Caller {
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  // For information only: pids are recycled. 0 when unknown.
  pid_t pid = 0;
  // Counts the connections of this server instance, from 1.
  std::uint64_t connection_id = 0;
  Wire wire = Wire::kInProcess;
  // When the connection was made.
  absl::Time since = absl::InfinitePast();
};

// One request on its way through a handler.
//
// Lifecycle: valid until the call has been answered: until the method returns
// where it returns its answer; else until its Reply, or its Reader and Writer,
// are gone.
//
// Thread safety: thread-safe.
class Call {
 public:
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Fixed when the call began.
  const Caller& caller() const { return caller_; }

  // When the client stops waiting; absl::InfiniteFuture() when it said nothing.
  absl::Time deadline() const { return deadline_; }

  // True once nobody waits for the answer: the client cancelled, left, or its
  // deadline passed. Never becomes false again. What is answered is then lost.
  bool is_cancelled() const {
    return cancelled_.load(std::memory_order_acquire);
  }

  // Runs `callback` once when is_cancelled() becomes true: at once, on this
  // thread, if it already is; else on a thread of the wire, so it must not
  // block. A second callback replaces the first. Not begun after the answer.
  void OnCancel(std::function<void()> callback) ABSL_LOCKS_EXCLUDED(mu_);

 protected:
  Call() = default;
  ~Call() = default;

  // For wires: marks the call cancelled and runs the callback. Idempotent.
  void MarkCancelled() ABSL_LOCKS_EXCLUDED(mu_);
  // For wires: drops the callback, because the call has been answered.
  void ForgetCallback() ABSL_LOCKS_EXCLUDED(mu_);

  // Set by the wire before the handler runs.
  Caller caller_;
  absl::Time deadline_ = absl::InfiniteFuture();

 private:
  std::atomic<bool> cancelled_{false};
  Mutex mu_;
  std::function<void()> on_cancel_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_CALL_H_

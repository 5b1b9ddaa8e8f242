// What a handler sees of a call, whatever the wire.

#ifndef TANDEM_RPC_SERVER_CALL_H_
#define TANDEM_RPC_SERVER_CALL_H_

#include <atomic>
#include <functional>
#include <utility>

#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/server/caller.h"
#include "rpc/server/server_connection.h"
#include "rpc/wire/metadata.h"

namespace tandem::rpc {

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
  const Caller& caller() const { return active_.caller(); }

  // When the client stops waiting; absl::InfiniteFuture() when it said nothing.
  absl::Time deadline() const { return deadline_; }

  // What the client says beside the request.
  const Metadata& metadata() const { return metadata_; }

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
  // `active`: of the connection that the call came on.
  explicit Call(ActiveCall active) : active_(std::move(active)) {}
  ~Call() = default;

  // For wires: marks the call cancelled and runs the callback. Idempotent.
  void MarkCancelled() ABSL_LOCKS_EXCLUDED(mu_);
  // For wires: drops the callback, because the call has been answered.
  void ForgetCallback() ABSL_LOCKS_EXCLUDED(mu_);

  // For wires that use a call again, which has been answered.
  void Restart(ActiveCall active);

  ActiveCall active_;
  // Set by the wire before the handler runs.
  absl::Time deadline_ = absl::InfiniteFuture();
  Metadata metadata_;

 private:
  std::atomic<bool> cancelled_{false};
  Mutex mu_;
  std::function<void()> on_cancel_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_CALL_H_

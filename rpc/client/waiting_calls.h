// Calls that wait until there is a server (CallOptions::wait_for_ready).

#ifndef TANDEM_RPC_CLIENT_WAITING_CALLS_H_
#define TANDEM_RPC_CLIENT_WAITING_CALLS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/message_lite.h"
#include "rpc/base/mutex.h"
#include "rpc/client/connection.h"
#include "rpc/client/transport.h"

namespace tandem::rpc {

// Connects on a thread of its own, again and again while calls wait, and begins
// them once a server has answered. Calls end while they wait: at their deadline
// (kDeadlineExceeded, with the reason of the last try), when they are
// cancelled, or at once with an error to connect other than kUnavailable.
//
// Thread safety: thread-safe.
class WaitingCalls {
 public:
  // Tries once, waiting for an answer until `deadline` at most. Runs on this
  // object's thread.
  using Connect = std::function<absl::StatusOr<std::shared_ptr<Connection>>(
      const Method& method, absl::Time deadline)>;

  // No thread runs until a call waits.
  explicit WaitingCalls(Connect connect);
  // Ends the calls that wait with kCancelled. `connect` must come to an end by
  // itself. May run within a call's `done`.
  ~WaitingCalls();
  WaitingCalls(const WaitingCalls&) = delete;
  WaitingCalls& operator=(const WaitingCalls&) = delete;

  // As Transport::Start(): copies `request`; `call` lives until its `done` ran.
  void Add(ClientCall* call, const google::protobuf::MessageLite& request,
           const CallOptions& options);

 private:
  class Queue;

  // Shared with its thread, and with the cancellations of calls that wait.
  const std::shared_ptr<Queue> queue_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_WAITING_CALLS_H_

// Calls handlers in this process.

#ifndef TANDEM_RPC_CLIENT_IN_PROCESS_H_
#define TANDEM_RPC_CLIENT_IN_PROCESS_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "rpc/client/transport.h"
#include "rpc/server/access_policy.h"
#include "rpc/server/call_guard.h"
#include "rpc/server/caller.h"
#include "rpc/server/refusal_log.h"
#include "rpc/server/server_connection.h"
#include "rpc/server/worker_pool.h"
#include "rpc/wire/method.h"

namespace tandem::rpc {

// No bytes and no connection, but the deadlines, cancellation, limits, policy
// and errors of a server in another process. Messages are copied, so neither
// side sees what the other does to its own.
//
// A handler that runs on the caller's thread (INLINE, or no workers) keeps the
// caller as long as it runs, whatever the deadline: it must not block.
//
// Lifecycle: the handlers outlive it. The destructor closes, and waits for
// handlers that run; a Reply or Writer that is kept longer is harmless.
//
// Thread safety: thread-safe. Not to be destroyed by a handler that it runs.
class InProcessTransport final : public Transport {
 public:
  struct Options {
    // Threads for handlers; 0: the caller's.
    int workers = 4;
    // Calls that may wait for a worker.
    int max_queued_calls = 1024;
    // Larger requests, replies and stream messages fail as on a socket.
    std::size_t max_message_bytes = 64 << 20;
    // Who may call what, and who calls (of whom the wire, the time and the
    // number of the connection are set here); unset: this process. The calls of
    // who may not even connect end with kUnavailable, as on a socket.
    AccessPolicy access = AccessPolicy().Allow(AllowList::Everybody());
    std::optional<Caller> caller = std::nullopt;
  };

  InProcessTransport(std::vector<Served> services, Options options);
  ~InProcessTransport() override;

  void Start(ClientCall* call, const google::protobuf::MessageLite& request,
             const CallOptions& options) override;
  std::shared_ptr<ClientStream> Open(
      const Method& method, const google::protobuf::MessageLite* request,
      const CallOptions& options) override;

  // Ends calls in flight with kUnavailable and tells their handlers; later
  // calls end so as well. Idempotent.
  void Close();
  bool is_over() const;
  // Waits until is_over() or for `timeout`; returns is_over().
  bool WaitOver(absl::Duration timeout) const;

 private:
  class UnaryCall;
  class Stream;
  class ClientEnd;
  class Pipe;
  class Ongoing;
  class CallTable;

  // A method of a service here.
  struct Target {
    const Method* method;
    void* handler;
    CallGuard::Method guarded;
  };

  std::vector<Target> Targets(const std::vector<Served>& services) const;
  // Null where there is none.
  const Target* TargetOf(const Method& method) const;
  // Begins a call, or says why it cannot.
  absl::StatusOr<ActiveCall> BeginCall(
      const Target* target, const Method& method,
      const google::protobuf::MessageLite* request,
      const CallOptions& options) const;
  // Null where `method` runs on the caller's thread.
  WorkerPool* PoolFor(const Method& method) const;

  const Options options_;
  const std::shared_ptr<ServerConnection> connection_;
  RefusalLog refusals_;
  const CallGuard guard_;
  const std::vector<Target> targets_;
  // Shared with the calls, which leave it as they end.
  const std::shared_ptr<CallTable> calls_;
  // Last: its threads use the rest.
  const std::unique_ptr<WorkerPool> pool_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_IN_PROCESS_H_

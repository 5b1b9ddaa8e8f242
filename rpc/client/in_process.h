// Calls handlers in this process.

#ifndef TANDEM_RPC_CLIENT_IN_PROCESS_H_
#define TANDEM_RPC_CLIENT_IN_PROCESS_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "rpc/client/transport.h"
#include "rpc/server/server_connection.h"
#include "rpc/server/worker_pool.h"
#include "rpc/wire/method.h"

namespace tandem::rpc {

// No bytes and no connection, but the deadlines, cancellation, limits and
// errors of a server in another process. Messages are copied, so neither side
// sees what the other does to its own.
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

  ActiveCall BeginCall() const;
  // The handler of `method`, or null.
  void* HandlerOf(const Method& method) const;
  // Why a call cannot begin, or OK.
  absl::Status CheckStart(const Method& method,
                          const google::protobuf::MessageLite* request,
                          const CallOptions& options) const;
  // Null where `method` runs on the caller's thread.
  WorkerPool* PoolFor(const Method& method) const;

  const std::vector<Served> services_;
  const Options options_;
  const std::shared_ptr<ServerConnection> connection_;
  // Shared with the calls, which leave it as they end.
  const std::shared_ptr<CallTable> calls_;
  // Last: its threads use the rest.
  const std::unique_ptr<WorkerPool> pool_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_IN_PROCESS_H_

// One way in which calls reach a server.

#ifndef TANDEM_RPC_WIRE_WIRE_H_
#define TANDEM_RPC_WIRE_WIRE_H_

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "rpc/base/unique_fd.h"
#include "rpc/server/call_guard.h"
#include "rpc/server/refusal_log.h"
#include "rpc/server/server_connection.h"
#include "rpc/server/worker_pool.h"
#include "rpc/wire/frames/poller.h"
#include "rpc/wire/method.h"
#include "rpc/wire/verdict.h"

namespace tandem::rpc {

// What a server lends to its wires. All of it outlives them.
struct WireParts {
  // What is served, Hello, health and Admin included.
  std::vector<Served> services;
  // Decides which calls begin.
  const CallGuard* guard = nullptr;
  // Counts what is refused.
  RefusalLog* refusals = nullptr;
  // Runs the handlers of methods that are not INLINE.
  WorkerPool* pool = nullptr;
  // Reads from sockets that are no library's.
  Poller* poller = nullptr;
  // Of ServerOptions.
  std::size_t max_message_bytes = 0;
  std::size_t max_reply_bytes = 0;
  int max_calls_per_connection = 0;
};

// Serves connections that speak one protocol (README.md here says how to add
// one).
//
// Lifecycle: Start() once; then Serve() any number of times; then Stop().
//
// Thread safety: Judge() and Serve() are called on the front door's thread,
// and neither may block; Stop() on another.
class Wire {
 public:
  virtual ~Wire() = default;

  // Caller::wire of its calls: "grpc". Lives as long as the program.
  virtual std::string_view name() const = 0;

  // Judges `seen`, the first bytes of a connection that have come so far, at
  // most kMaxFirstBytes. Once it has said kMine or kNotMine, more bytes change
  // nothing.
  virtual Verdict Judge(std::string_view seen) const = 0;

  // Errors: those for which the server does not start.
  virtual absl::Status Start(const WireParts& parts) = 0;

  // Takes a connection whose first bytes it called its own, and which are
  // unread. The socket does not block. Whoever has a duplicate of it may shut
  // it down; then the connection is over.
  virtual void Serve(UniqueFd socket,
                     std::shared_ptr<ServerConnection> connection) = 0;

  // Refuses new calls with kUnavailable from now on, lets those in flight end
  // until `deadline`, then cancels them, and returns once no handler is begun
  // any more and all connections are closed, or about to be.
  virtual void Stop(absl::Time deadline) = 0;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_WIRE_H_

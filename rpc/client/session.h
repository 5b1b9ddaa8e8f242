// One connection to one instance of a server.

#ifndef TANDEM_RPC_CLIENT_SESSION_H_
#define TANDEM_RPC_CLIENT_SESSION_H_

#include <sys/types.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/client/transport.h"
#include "tandem/rpc/v1/session.pb.h"

namespace tandem::rpc {

// Carries calls over one connection and never reconnects: once the connection
// or the server is gone, every call ends with kUnavailable. For clients that
// must know when the server was restarted, such as a node that has to compare
// states before it goes on. Others use Channel, which opens sessions as needed.
//
// Thread safety: thread-safe.
class Session : public Transport {
 public:
  // What the server said to Hello. An error: kUnimplemented when the server is
  // not Tandem's; else why Hello failed.
  virtual const absl::StatusOr<v1::HelloReply>& hello() const = 0;

  // The process that listened at the other end when the connection was made, as
  // the kernel says; for information, since pids are recycled. 0 where that is
  // not known.
  virtual pid_t server_pid() const { return 0; }

  // True once the connection has ended; never becomes false again.
  virtual bool is_over() const = 0;

  // Waits until is_over() or for `timeout`; returns is_over(). Notices the
  // death of the server at once.
  virtual bool WaitOver(absl::Duration timeout) const = 0;

  // Ends the connection: calls in flight end with kUnavailable or kCancelled.
  virtual void Close() = 0;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_SESSION_H_

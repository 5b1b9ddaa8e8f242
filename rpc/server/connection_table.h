// Which caller is behind a call, by the name that gRPC gives its connection.

#ifndef TANDEM_RPC_SERVER_CONNECTION_TABLE_H_
#define TANDEM_RPC_SERVER_CONNECTION_TABLE_H_

#include <optional>
#include <string_view>
#include <vector>

#include "rpc/base/mutex.h"
#include "rpc/server/call.h"

namespace tandem::rpc {

// Callers by descriptor number. gRPC names the peer of a connection that it was
// given by descriptor N "fd:N", and keeps N open while any call of it runs
// (Server's start-up self-test checks both), so: the front door sets entry N
// before it hands N over, and nobody ever erases it. The entry of a connection
// that has ended is overwritten when the kernel gives the number away again,
// and until then no call can ask for it.
//
// Thread safety: thread-safe.
class ConnectionTable {
 public:
  void Set(int fd, const Caller& caller) ABSL_LOCKS_EXCLUDED(mu_);

  // The caller behind `peer`, which is grpc::ServerContextBase::peer(), asked
  // first thing in a call: after a cancellation gRPC says "unknown". No caller:
  // refuse the call.
  std::optional<Caller> Find(std::string_view peer) const
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  mutable Mutex mu_;
  // By descriptor; connection_id 0 where there was none.
  std::vector<Caller> callers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_CONNECTION_TABLE_H_

// Which connection a call came on, by the name that gRPC gives it.

#ifndef TANDEM_RPC_SERVER_CONNECTION_TABLE_H_
#define TANDEM_RPC_SERVER_CONNECTION_TABLE_H_

#include <array>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "rpc/base/mutex.h"
#include "rpc/server/server_connection.h"

namespace tandem::rpc {

// Connections by descriptor number. gRPC names the peer of a connection that it
// was given by descriptor N "fd:N", and keeps N open while any call of it runs
// (Server's start-up self-test checks both), so: the front door sets entry N
// before it hands N over, and nobody ever erases it. The entry of a connection
// that has ended is overwritten when the kernel gives the number away again,
// and until then no call can ask for it.
//
// Thread safety: thread-safe. Calls of different connections seldom wait for
// each other.
class ConnectionTable {
 public:
  void Set(int fd, std::shared_ptr<ServerConnection> connection);

  // The connection behind `peer`, which is grpc::ServerContextBase::peer(),
  // asked first thing in a call: after a cancellation gRPC says "unknown". Null
  // when there is none: refuse the call.
  std::shared_ptr<ServerConnection> Find(std::string_view peer) const;

  // Those that are open, oldest first.
  std::vector<std::shared_ptr<ServerConnection>> Open() const;

 private:
  static constexpr std::size_t kShards = 64;

  // Descriptor N is entry N / kShards of shard N % kShards.
  struct alignas(64) Shard {
    mutable Mutex mu;
    std::vector<std::shared_ptr<ServerConnection>> connections
        ABSL_GUARDED_BY(mu);
  };

  std::array<Shard, kShards> shards_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_CONNECTION_TABLE_H_

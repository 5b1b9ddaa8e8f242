// Serves a dispatch table over gRPC.

#ifndef TANDEM_RPC_WIRE_GRPC_GRPC_SERVICE_H_
#define TANDEM_RPC_WIRE_GRPC_GRPC_SERVICE_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/service_type.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "rpc/server/call_guard.h"
#include "rpc/server/server_connection.h"
#include "rpc/server/worker_pool.h"
#include "rpc/wire/method.h"

namespace tandem::rpc {

struct GrpcServiceOptions {
  // The connection that gRPC calls `peer`; null where nobody knows it. Asked
  // before a call's bytes are parsed. Must not block.
  std::function<std::shared_ptr<ServerConnection>(const std::string& peer)>
      connection_of;
  // Decides which calls begin. Outlives the service.
  const CallGuard* guard = nullptr;
  // Runs the handlers of methods that are not INLINE. Outlives the service.
  WorkerPool* pool = nullptr;
  // Larger ones fail with kResourceExhausted: requests and stream messages of
  // clients, once they have arrived, and what they are sent. A grpc::Server
  // with a limit of its own (SetMaxReceiveMessageSize) looks no earlier, and
  // what it refuses is not counted.
  std::size_t max_message_bytes = 64 << 20;
  std::size_t max_reply_bytes = 64 << 20;
};

// One service of a grpc::Server, for any handler: no gRPC code is generated.
//
// Lifecycle: register it with a grpc::ServerBuilder; it, the handler and the
// pool outlive the grpc::Server. To stop: shut the grpc::Server down, which
// cancels what is in flight, then stop the pool, then destroy the grpc::Server
// (its destructor waits until each call has been answered).
//
// Errors that it answers itself: those of CallGuard; kInvalidArgument
// for a request that does not parse, or has a field of another type than this
// server's .proto says; kResourceExhausted; kInternal when the handler dropped
// a call unanswered.
//
// Thread safety: immutable; handlers run on the pool or on gRPC's threads.
class GrpcService final : public grpc::Service {
 public:
  GrpcService(const Served& served, GrpcServiceOptions options);
  ~GrpcService() override;

 private:
  const GrpcServiceOptions options_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_GRPC_SERVICE_H_

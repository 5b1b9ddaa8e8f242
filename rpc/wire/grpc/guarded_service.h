// A service written for gRPC's own generated classes, behind the access policy.

#ifndef TANDEM_RPC_WIRE_GRPC_GUARDED_SERVICE_H_
#define TANDEM_RPC_WIRE_GRPC_GUARDED_SERVICE_H_

#include <grpcpp/impl/service_type.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "rpc/server/call_guard.h"
#include "rpc/server/server_connection.h"
#include "rpc/wire/grpc/serve_grpc.h"

namespace tandem::rpc {

struct GuardedServiceOptions {
  // The connection that gRPC calls `peer`; null where nobody knows it. Asked
  // before a call's bytes are parsed. Must not block.
  std::function<std::shared_ptr<ServerConnection>(const std::string& peer)>
      connection_of;
  // Decides which calls begin. Outlives the service.
  const CallGuard* guard = nullptr;
  // A larger request fails with kResourceExhausted, once it has arrived; that
  // of a unary call or a server stream. Messages that a client streams are
  // bounded by the grpc::Server alone (SetMaxReceiveMessageSize).
  std::size_t max_message_bytes = 64 << 20;
};

// Has the methods of another grpc::Service, and runs that one's handlers for
// calls that CallGuard lets begin. One that it does not is neither parsed nor
// does it reach the handler.
//
// What the client of a call does not read in time ends the call, as with
// services of our own. For calls that stream, and to count their messages and
// hold them against the memory for requests, the grpc::Server needs a
// StreamWatches. The bytes of unary answers are not counted.
//
// Lifecycle: registered with a grpc::ServerBuilder in place of the other, which
// it borrows; both outlive the grpc::Server.
//
// Thread safety: immutable.
class GuardedService final : public grpc::Service {
 public:
  // Errors: kInvalidArgument when the service has methods of the completion
  // queue or generic API, or of both the blocking and the callback API, or its
  // .proto has no descriptor in this program (optimize_for = LITE_RUNTIME).
  static absl::StatusOr<std::unique_ptr<GuardedService>> Create(
      const ServedGrpc& served, GuardedServiceOptions options);

  ~GuardedService() override;

 private:
  explicit GuardedService(GuardedServiceOptions options)
      : options_(std::move(options)) {}

  const GuardedServiceOptions options_;
  // "/old.v1.Old/Get"; their bytes stay where they are.
  std::deque<std::string> paths_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_GUARDED_SERVICE_H_

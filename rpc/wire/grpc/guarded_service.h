// A service written for gRPC's own generated classes, behind the access policy.

#ifndef TANDEM_RPC_WIRE_GRPC_GUARDED_SERVICE_H_
#define TANDEM_RPC_WIRE_GRPC_GUARDED_SERVICE_H_

#include <grpcpp/impl/service_type.h>

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
};

// Has the methods of another grpc::Service, and runs that one's handlers for
// calls that CallGuard lets begin. One that it does not is neither parsed nor
// does it reach the handler.
//
// Of a call's messages only the one of a unary call or server stream is counted
// and held against the memory for requests; gRPC's streams are out of our
// hands.
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

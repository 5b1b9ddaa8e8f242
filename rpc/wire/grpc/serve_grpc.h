// Services that were written for gRPC's own generated classes.

#ifndef TANDEM_RPC_WIRE_GRPC_SERVE_GRPC_H_
#define TANDEM_RPC_WIRE_GRPC_SERVE_GRPC_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "rpc/server/caller.h"

namespace grpc {
class ServerContextBase;
class Service;
}  // namespace grpc

namespace google::protobuf {
class ServiceDescriptor;
}  // namespace google::protobuf

namespace tandem::rpc {

// One such service, for ServerOptions::grpc_services.
struct ServedGrpc {
  std::string_view name;  // "old.v1.Old"
  grpc::Service* service = nullptr;
};

// What it is made of; null where this program has no descriptor of it.
const google::protobuf::ServiceDescriptor* DescriptorOf(
    const ServedGrpc& served);

// Serves `impl`, an implementation of `S` as protoc's gRPC plugin generated it:
// of S::Service (blocking handlers) or of S::CallbackService. It goes on as it
// is, streams included, over gRPC alone, behind the access policy of the server
// and beside services of Tandem's own. It must outlive the server.
//
//   LegacyImpl legacy;  // : old::v1::Old::Service
//   Server::Start({..., .grpc_services = {ServeGrpc<old::v1::Old>(legacy)}});
//
// Blocking handlers run on threads of gRPC's, of which there are at most
// ServerOptions::max_grpc_threads; not on the server's workers.
template <typename S>
ServedGrpc ServeGrpc(typename S::Service& impl) {
  return {S::service_full_name(), &impl};
}

// Who is calling, for handlers of such services. To be asked on the thread that
// gRPC called the method on, before the method returns: a handler with
// callbacks keeps the answer for those. It does not change when the call is
// cancelled or the client leaves.
//
// Errors: kFailedPrecondition when `context` is not that of the method running
// on this thread, or is not a Tandem server's.
absl::StatusOr<Caller> CallerOf(const grpc::ServerContextBase& context);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_SERVE_GRPC_H_

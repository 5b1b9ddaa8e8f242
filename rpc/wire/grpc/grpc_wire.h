// gRPC as a server offers it.

#ifndef TANDEM_RPC_WIRE_GRPC_GRPC_WIRE_H_
#define TANDEM_RPC_WIRE_GRPC_GRPC_WIRE_H_

#include <memory>
#include <utility>
#include <vector>

#include "rpc/server/connection_table.h"
#include "rpc/wire/grpc/grpc_service.h"
#include "rpc/wire/grpc/guarded_service.h"
#include "rpc/wire/grpc/serve_grpc.h"
#include "rpc/wire/wire.h"

namespace tandem::rpc {

struct GrpcWireOptions {
  // Services written for gRPC's own generated classes.
  std::vector<ServedGrpc> services = {};
  // Threads for their blocking handlers.
  int max_threads = 256;
  // Where the front door enters connections. Outlives the wire.
  const ConnectionTable* connections = nullptr;
};

// One grpc::Server, which is given accepted connections.
//
// Thread safety: as Wire. Handlers run on the pool and on gRPC's threads.
class GrpcWire final : public Wire {
 public:
  explicit GrpcWire(GrpcWireOptions options) : options_(std::move(options)) {}

  std::string_view name() const override { return "grpc"; }
  Verdict Judge(std::string_view seen) const override;
  // Errors: kInvalidArgument (what ServeGrpc() cannot serve); kInternal when
  // gRPC does not keep what we rely on (CheckHandOver, tried out once per
  // process), or does not start.
  absl::Status Start(const WireParts& parts) override;
  void Serve(UniqueFd socket,
             std::shared_ptr<ServerConnection> connection) override;
  // Waits for each call to be answered; for a client that reads nothing its
  // connection has to be shut down.
  void Stop(absl::Time deadline) override;

 private:
  void AddService(const Served& served, const WireParts& parts,
                  grpc::ServerBuilder& builder);
  absl::Status AddGrpcServices(const WireParts& parts,
                               grpc::ServerBuilder& builder);

  const GrpcWireOptions options_;
  std::vector<std::unique_ptr<GrpcService>> services_;
  std::vector<std::unique_ptr<GuardedService>> guarded_services_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_GRPC_WIRE_H_

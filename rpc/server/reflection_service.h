// Tells gRPC's tools, such as grpcurl, what a server serves.

#ifndef TANDEM_RPC_SERVER_REFLECTION_SERVICE_H_
#define TANDEM_RPC_SERVER_REFLECTION_SERVICE_H_

#include <set>
#include <string>
#include <utility>

#include "grpc/reflection/v1/reflection.tandem.h"
#include "grpc/reflection/v1alpha/reflection.tandem.h"

namespace tandem::rpc {

// Lists services, and answers with the .proto files that are linked into this
// program: not only with those of its services. Under both names: tools ask for
// v1alpha, and newer ones for v1 first.
//
// Thread safety: immutable.
class ReflectionService final
    : public grpc::reflection::v1::ServerReflectionHandler {
 public:
  // `services`: the names of what the server serves.
  explicit ReflectionService(std::set<std::string> services)
      : services_(std::move(services)) {}

  void ServerReflectionInfo(
      Call& call, Reader<grpc::reflection::v1::ServerReflectionRequest> in,
      Writer<grpc::reflection::v1::ServerReflectionResponse> out) override;

 private:
  const std::set<std::string> services_;
};

// The same as v1alpha.
class ReflectionAlphaService final
    : public grpc::reflection::v1alpha::ServerReflectionHandler {
 public:
  explicit ReflectionAlphaService(std::set<std::string> services)
      : services_(std::move(services)) {}

  void ServerReflectionInfo(
      Call& call, Reader<grpc::reflection::v1alpha::ServerReflectionRequest> in,
      Writer<grpc::reflection::v1alpha::ServerReflectionResponse> out) override;

 private:
  const std::set<std::string> services_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_REFLECTION_SERVICE_H_

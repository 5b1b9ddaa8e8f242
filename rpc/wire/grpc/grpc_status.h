// absl::Status and grpc::Status: the one place where they meet.

#ifndef TANDEM_RPC_WIRE_GRPC_GRPC_STATUS_H_
#define TANDEM_RPC_WIRE_GRPC_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace tandem::rpc {

// The codes are the same numbers. Payloads are the details of
// google.rpc.Status, as in gRPC's own libraries (grpc-status-details-bin). A
// message is cut after 2,048 bytes, and payloads are left out that do not fit
// beside it: all of that travels in headers, and gRPC refuses headers of 8 KiB.
grpc::Status ToGrpc(const absl::Status& status);

absl::Status FromGrpc(const grpc::Status& status);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_GRPC_STATUS_H_

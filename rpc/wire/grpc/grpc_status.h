// absl::Status and grpc::Status: the one place where they meet.

#ifndef TANDEM_RPC_WIRE_GRPC_GRPC_STATUS_H_
#define TANDEM_RPC_WIRE_GRPC_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace tandem::rpc {

// The codes are the same numbers. Payloads are not carried, and a message is
// cut after 2,048 bytes: it travels in a header, and gRPC refuses headers of 8
// KiB.
grpc::Status ToGrpc(const absl::Status& status);

absl::Status FromGrpc(const grpc::Status& status);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_GRPC_STATUS_H_

// Messages as gRPC carries them.

#ifndef TANDEM_RPC_WIRE_GRPC_GRPC_MESSAGE_H_
#define TANDEM_RPC_WIRE_GRPC_GRPC_MESSAGE_H_

#include <grpcpp/support/byte_buffer.h>
// gRPC's own traits of MessageLite.
#if __has_include(<grpcpp/impl/proto_utils.h>)
#include <grpcpp/impl/proto_utils.h>
#else
#include <grpcpp/impl/codegen/proto_utils.h>
#endif

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"
#include "rpc/wire/message_check.h"

namespace tandem::rpc {

// Serializes into `out`, after CheckSize().
absl::Status ToBytes(const google::protobuf::MessageLite& message,
                     std::size_t max_bytes, std::string_view method,
                     grpc::ByteBuffer* out);

// Parses and empties `bytes`. Errors: kResourceExhausted (larger than
// `max_bytes`); kInvalidArgument (no message of this type, or one with a field
// of another type: see message_check.h).
absl::Status FromBytes(grpc::ByteBuffer* bytes, std::size_t max_bytes,
                       std::string_view method,
                       google::protobuf::MessageLite* into);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_GRPC_MESSAGE_H_

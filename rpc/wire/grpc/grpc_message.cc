#include "rpc/wire/grpc/grpc_message.h"

#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"
#include "rpc/wire/message_check.h"

namespace tandem::rpc {
namespace {

using google::protobuf::MessageLite;

bool Parse(grpc::ByteBuffer* bytes, MessageLite* into) {
  grpc::Slice slice;
  if (bytes->TrySingleSlice(&slice).ok()) {
    return into->ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
  }
  return grpc::SerializationTraits<MessageLite>::Deserialize(bytes, into).ok();
}

}  // namespace

absl::Status CheckLength(std::size_t bytes, std::size_t max_bytes,
                         const MessageLite& message, std::string_view method) {
  // Protobuf's own limit.
  constexpr std::size_t kMost = std::numeric_limits<int>::max();
  max_bytes = std::min(max_bytes, kMost);
  if (bytes <= max_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      std::string(method), ": a ", message.GetTypeName(), " of ", bytes,
      " bytes is larger than the limit of ", max_bytes, " bytes"));
}

absl::Status CheckSize(const MessageLite& message, std::size_t max_bytes,
                       std::string_view method) {
  return CheckLength(message.ByteSizeLong(), max_bytes, message, method);
}

absl::Status ToBytes(const MessageLite& message, std::size_t max_bytes,
                     std::string_view method, grpc::ByteBuffer* out) {
  TANDEM_RETURN_IF_ERROR(CheckSize(message, max_bytes, method));
  bool owns_buffer;
  out->Clear();
  const grpc::Status done = grpc::SerializationTraits<MessageLite>::Serialize(
      message, out, &owns_buffer);
  if (done.ok()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(std::string(method), ": a ",
                                          message.GetTypeName(),
                                          " cannot be serialized"));
}

absl::Status FromBytes(grpc::ByteBuffer* bytes, std::size_t max_bytes,
                       std::string_view method, MessageLite* into) {
  TANDEM_RETURN_IF_ERROR(
      CheckLength(bytes->Length(), max_bytes, *into, method));
  const bool is_parsed = Parse(bytes, into);
  bytes->Clear();
  if (!is_parsed) {
    return absl::InvalidArgumentError(absl::StrCat(
        std::string(method), ": the bytes are no ", into->GetTypeName(),
        "; client and server may be built from different .proto "
        "files"));
  }
  absl::Status checked = CheckFieldTypes(*into);
  if (checked.ok()) return checked;
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(method), ": ", checked.message()));
}

}  // namespace tandem::rpc

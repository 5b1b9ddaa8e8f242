#include "rpc/wire/grpc/grpc_message.h"

#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"

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
  return CheckParsed(is_parsed, *into, method);
}

}  // namespace tandem::rpc

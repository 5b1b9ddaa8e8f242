// Finds out that a message is too large, or was sent by a program with another
// .proto. `method`, such as "/kv.v1.Store/Get", is for error messages.

#ifndef TANDEM_RPC_WIRE_MESSAGE_CHECK_H_
#define TANDEM_RPC_WIRE_MESSAGE_CHECK_H_

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"

namespace tandem::rpc {

// Errors: kResourceExhausted when `bytes`, which are a message of the type of
// `message`, are more than `max_bytes` (2 GiB at most).
absl::Status CheckLength(std::size_t bytes, std::size_t max_bytes,
                         const google::protobuf::MessageLite& message,
                         std::string_view method);

// The same of `message` itself.
absl::Status CheckSize(const google::protobuf::MessageLite& message,
                       std::size_t max_bytes, std::string_view method);

// Looks for a field that changed its type. Protobuf parses such a message
// without complaint: it keeps a field whose number it knows, but whose wire
// type is not the declared one, among the unknown fields, and the field reads
// as unset. A field with an unknown number is no error: the sender is newer.
//
// A change that keeps the wire type (int32 to uint64) cannot be seen. Messages
// of the lite runtime are not checked: they do not know their fields.
//
// Errors: kInvalidArgument, naming message, field and both types.
absl::Status CheckFieldTypes(const google::protobuf::MessageLite& message);

// After the bytes of `message` were parsed, or could not be. Errors:
// kInvalidArgument (no message of this type, or CheckFieldTypes()).
absl::Status CheckParsed(bool is_parsed,
                         const google::protobuf::MessageLite& message,
                         std::string_view method);

// Parses `bytes`. Errors: those of CheckLength() and CheckParsed().
absl::Status ParseMessage(std::string_view bytes, std::size_t max_bytes,
                          std::string_view method,
                          google::protobuf::MessageLite* into);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_MESSAGE_CHECK_H_

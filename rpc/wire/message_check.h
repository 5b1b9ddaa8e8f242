// Finds out that a message was sent by a program with another .proto.

#ifndef TANDEM_RPC_WIRE_MESSAGE_CHECK_H_
#define TANDEM_RPC_WIRE_MESSAGE_CHECK_H_

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"

namespace tandem::rpc {

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

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_MESSAGE_CHECK_H_

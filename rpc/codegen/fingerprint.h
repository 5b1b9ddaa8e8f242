// A number for a service's schema: equal numbers mean that both sides were
// built from the same .proto.

#ifndef TANDEM_RPC_CODEGEN_FINGERPRINT_H_
#define TANDEM_RPC_CODEGEN_FINGERPRINT_H_

#include <string>

#include "google/protobuf/descriptor.h"

namespace tandem::rpc {

// What goes over the wire, as text, one fact a line: the service's methods, and
// every message and enum they reach, in an order that does not depend on where
// or in which order they are declared.
//
// Counts: names, numbers, types, labels, packing, presence, oneofs, enum
// values. Does not count: comments, files, imports, options, JSON names,
// messages that no method reaches.
std::string SchemaText(const google::protobuf::ServiceDescriptor& service);

// SHA-256 over SchemaText(), as 64 hexadecimal digits. It says whether two
// schemas are the same, not whether they are compatible: an added field changes
// it.
std::string Fingerprint(const google::protobuf::ServiceDescriptor& service);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CODEGEN_FINGERPRINT_H_

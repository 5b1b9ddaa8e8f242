// What a caller says beside the request.

#ifndef TANDEM_RPC_WIRE_METADATA_H_
#define TANDEM_RPC_WIRE_METADATA_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace tandem::rpc {

// Keys and values, in the caller's order; a key may be there twice.
using Metadata = std::vector<std::pair<std::string, std::string>>;

// The first value of `key`.
std::optional<std::string_view> Find(const Metadata& metadata,
                                     std::string_view key);

// Whether every wire can carry it. Errors: kInvalidArgument, unless keys are of
// lower case letters, digits, '-', '_' and '.' and do not begin with "grpc-",
// values are of printable ASCII characters without spaces at their ends, and
// all of it is no more than 4 KiB.
absl::Status CheckMetadata(const Metadata& metadata);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_METADATA_H_

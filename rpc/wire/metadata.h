// What a caller says beside the request.

#ifndef TANDEM_RPC_WIRE_METADATA_H_
#define TANDEM_RPC_WIRE_METADATA_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace tandem::rpc {

// Keys and values, in the caller's order; a key may be there twice.
using Metadata = std::vector<std::pair<std::string, std::string>>;

// What an entry counts against a limit, besides its key and value: as HTTP/2
// has it, so that the limits are the same over every wire.
inline constexpr std::size_t kMetadataEntryBytes = 32;

// A call with more is refused by servers, with kResourceExhausted.
inline constexpr std::size_t kMaxServedMetadata = 8 << 10;

// The first value of `key`.
std::optional<std::string_view> Find(const Metadata& metadata,
                                     std::string_view key);

// Whether every wire can carry it. Errors: kInvalidArgument, unless keys are of
// lower case letters, digits, '-', '_' and '.' and do not begin with "grpc-",
// values are of printable ASCII characters without spaces at their ends, and
// all of it counts no more than 4 KiB.
absl::Status CheckMetadata(const Metadata& metadata);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_METADATA_H_

// Bytes as hexadecimal digits.

#ifndef TANDEM_NODE_CLI_HEX_H_
#define TANDEM_NODE_CLI_HEX_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tandem::node {

// "0aff" for the bytes 10 and 255.
std::string ToHex(std::string_view bytes);

// Takes upper and lower case. Errors: kInvalidArgument, with what is wrong.
absl::StatusOr<std::string> FromHex(std::string_view digits);

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_HEX_H_

#include "node/cli/hex.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace tandem::node {

std::string ToHex(std::string_view bytes) {
  return absl::BytesToHexString({bytes.data(), bytes.size()});
}

absl::StatusOr<std::string> FromHex(std::string_view digits) {
  const auto is_digit = [](char c) {
    return absl::ascii_isxdigit(static_cast<unsigned char>(c));
  };
  const auto wrong = std::find_if_not(digits.begin(), digits.end(), is_digit);
  if (wrong != digits.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("not hexadecimal: character ", wrong - digits.begin() + 1,
                     " is no digit 0-9, a-f"));
  }
  if (digits.size() % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "not hexadecimal: ", digits.size(), " digits; bytes have two each"));
  }
  return absl::HexStringToBytes({digits.data(), digits.size()});
}

}  // namespace tandem::node

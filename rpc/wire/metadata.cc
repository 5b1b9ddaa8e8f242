#include "rpc/wire/metadata.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace tandem::rpc {
namespace {

// Servers refuse 8 KiB of headers, and HTTP/2 has some of its own.
constexpr std::size_t kMaxBytes = kMaxServedMetadata / 2;

bool IsKey(std::string_view key) {
  return !key.empty() && !key.starts_with("grpc-") &&
         std::all_of(key.begin(), key.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

bool IsValue(std::string_view value) {
  return !value.starts_with(' ') && !value.ends_with(' ') &&
         std::all_of(value.begin(), value.end(),
                     [](char c) { return c >= 0x20 && c < 0x7f; });
}

}  // namespace

std::optional<std::string_view> Find(const Metadata& metadata,
                                     std::string_view key) {
  for (const auto& [name, value] : metadata) {
    if (name == key) return value;
  }
  return std::nullopt;
}

absl::Status CheckMetadata(const Metadata& metadata) {
  std::size_t bytes = 0;
  for (const auto& [key, value] : metadata) {
    if (!IsKey(key) || !IsValue(value)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the metadata \"", absl::CHexEscape(key), "\": \"",
          absl::CHexEscape(value),
          "\" cannot be sent: keys are of lower case letters, digits, '-', '_' "
          "and '.' (not \"grpc-...\"), values of printable ASCII"));
    }
    bytes += key.size() + value.size() + kMetadataEntryBytes;
  }
  if (bytes <= kMaxBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the metadata of a call counts ", bytes, " bytes (", kMetadataEntryBytes,
      " of each entry), and no more than ", kMaxBytes, " can be sent"));
}

}  // namespace tandem::rpc

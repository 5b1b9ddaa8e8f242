#include "rpc/base/hex.h"

#include "absl/strings/escaping.h"

namespace tandem::rpc {

std::string HexOrNone(std::string_view bytes) {
  if (bytes.empty()) return "(none)";
  return absl::BytesToHexString({bytes.data(), bytes.size()});
}

}  // namespace tandem::rpc

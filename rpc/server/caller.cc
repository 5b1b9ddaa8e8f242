#include "rpc/server/caller.h"

#include "absl/strings/str_cat.h"
#include "rpc/base/unmapped_id.h"

namespace tandem::rpc {

std::string_view WireName(Wire wire) {
  switch (wire) {
    case Wire::kInProcess:
      return "in-process";
    case Wire::kGrpc:
      return "grpc";
  }
  return "unknown";
}

bool Caller::is_unmapped() const { return IsUnmappedUid(uid); }

std::string Caller::Name() const {
  if (is_unmapped()) {
    return absl::StrCat("an unmapped uid (shown as ", uid, ")");
  }
  return absl::StrCat("uid ", uid);
}

}  // namespace tandem::rpc

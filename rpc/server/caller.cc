#include "rpc/server/caller.h"

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

std::string Caller::Name() const { return UidName(uid); }

}  // namespace tandem::rpc

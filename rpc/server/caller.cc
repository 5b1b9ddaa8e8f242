#include "rpc/server/caller.h"

#include "rpc/base/unmapped_id.h"

namespace tandem::rpc {

bool Caller::is_unmapped() const { return IsUnmappedUid(uid); }

std::string Caller::Name() const { return UidName(uid); }

}  // namespace tandem::rpc

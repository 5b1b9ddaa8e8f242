// The number that the kernel shows for an id that has none here.

#ifndef TANDEM_RPC_BASE_UNMAPPED_ID_H_
#define TANDEM_RPC_BASE_UNMAPPED_ID_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace tandem::rpc {

// In a user namespace that does not have all ids, the kernel shows those of
// others as the overflow id (65534, unless the host says otherwise): any number
// of users look like that one, so it identifies nobody. Where the namespace has
// all ids, as outside of containers, the number is that of a real user.
//
// Read once per process. Thread safety: thread-safe.
bool IsUnmappedUid(uid_t uid);
bool IsUnmappedGid(gid_t gid);

// Whether the owner or peer that the kernel shows as `shown` is the user `uid`.
// Never so for the number of the unmapped, even where `uid` is our own: to
// trust by number, ask this rather than compare.
bool IsUser(uid_t shown, uid_t uid);

// "uid 1000", "an unmapped uid (shown as 65534)".
std::string UidName(uid_t shown);

// Whether a /proc/PID/uid_map or gid_map has all ids but (2^32)-1, which is
// none. False for what it does not understand.
bool HasAllIds(std::string_view id_map);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_BASE_UNMAPPED_ID_H_

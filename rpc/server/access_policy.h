// Who may connect to a server.

#ifndef TANDEM_RPC_SERVER_ACCESS_POLICY_H_
#define TANDEM_RPC_SERVER_ACCESS_POLICY_H_

#include <sys/types.h>

#include <span>
#include <vector>

namespace tandem::rpc {

// Decides by the kernel's word on the peer: its effective uid and gid, and its
// supplementary groups. Root is not special.
//
// Thread safety: immutable once built.
class AccessPolicy {
 public:
  // The uid that the server itself runs as. The default everywhere.
  static AccessPolicy SameUser();

  // Widens the policy.
  AccessPolicy& AllowUid(uid_t uid);
  AccessPolicy& AllowGid(gid_t gid);

  // `groups`: the peer's gid and supplementary groups.
  bool MayConnect(uid_t uid, std::span<const gid_t> groups) const;

 private:
  std::vector<uid_t> uids_;
  std::vector<gid_t> gids_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_ACCESS_POLICY_H_

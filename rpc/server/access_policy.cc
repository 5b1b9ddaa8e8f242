#include "rpc/server/access_policy.h"

#include <unistd.h>

#include <algorithm>

namespace tandem::rpc {

AccessPolicy AccessPolicy::SameUser() {
  return AccessPolicy().AllowUid(::geteuid());
}

AccessPolicy& AccessPolicy::AllowUid(uid_t uid) {
  uids_.push_back(uid);
  return *this;
}

AccessPolicy& AccessPolicy::AllowGid(gid_t gid) {
  gids_.push_back(gid);
  return *this;
}

bool AccessPolicy::MayConnect(uid_t uid, std::span<const gid_t> groups) const {
  return std::find(uids_.begin(), uids_.end(), uid) != uids_.end() ||
         std::find_first_of(groups.begin(), groups.end(), gids_.begin(),
                            gids_.end()) != groups.end();
}

}  // namespace tandem::rpc

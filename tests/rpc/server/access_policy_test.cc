#include "rpc/server/access_policy.h"

#include <unistd.h>

#include <vector>

#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

const std::vector<gid_t> kNoGroups;

TEST(AccessPolicyTest, SameUserIsTheEffectiveUidAlone) {
  const AccessPolicy policy = AccessPolicy::SameUser();
  EXPECT_TRUE(policy.MayConnect(::geteuid(), kNoGroups));
  EXPECT_FALSE(policy.MayConnect(::geteuid() + 1, kNoGroups));
}

TEST(AccessPolicyTest, RootIsNotSpecial) {
  AccessPolicy policy;
  policy.AllowUid(1000);
  EXPECT_FALSE(policy.MayConnect(0, std::vector<gid_t>{0}));
}

TEST(AccessPolicyTest, NobodyMayConnectUnlessAllowed) {
  EXPECT_FALSE(AccessPolicy().MayConnect(::geteuid(), kNoGroups));
}

TEST(AccessPolicyTest, AnAllowedUidNeedsNoGroup) {
  const AccessPolicy policy = AccessPolicy::SameUser().AllowUid(5);
  EXPECT_TRUE(policy.MayConnect(5, kNoGroups));
  EXPECT_FALSE(policy.MayConnect(6, kNoGroups));
}

TEST(AccessPolicyTest, AnAllowedGroupLetsItsMembersIn) {
  const AccessPolicy policy = AccessPolicy::SameUser().AllowGid(50);
  EXPECT_TRUE(policy.MayConnect(::geteuid() + 1, std::vector<gid_t>{50}));
  EXPECT_TRUE(policy.MayConnect(::geteuid() + 1, std::vector<gid_t>{7, 50}));
  EXPECT_FALSE(policy.MayConnect(::geteuid() + 1, std::vector<gid_t>{7, 51}));
}

}  // namespace
}  // namespace tandem::rpc

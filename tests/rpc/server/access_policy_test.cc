#include "rpc/server/access_policy.h"

#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"

namespace tandem::rpc {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

Caller User(uid_t uid, std::vector<gid_t> groups = {}) {
  return {.uid = uid, .gid = 9999, .groups = std::move(groups)};
}
bool MayCall(const AccessPolicy& policy, uid_t uid, const char* service,
             const char* method) {
  return policy.MayCall(User(uid), service, method).ok();
}

// Connecting.

TEST(AccessPolicyTest, SameUserIsTheEffectiveUidAlone) {
  const AccessPolicy policy = AccessPolicy::SameUser();
  EXPECT_TRUE(policy.MayConnect(User(::geteuid())));
  EXPECT_FALSE(policy.MayConnect(User(::geteuid() + 1)));
}

TEST(AccessPolicyTest, RootIsNotSpecial) {
  AccessPolicy policy;
  policy.AllowUid(1000);
  EXPECT_FALSE(policy.MayConnect(User(0, {0})));
}

TEST(AccessPolicyTest, NobodyMayConnectUnlessAllowed) {
  EXPECT_FALSE(AccessPolicy().MayConnect(User(::geteuid())));
}

TEST(AccessPolicyTest, AnAllowedUidNeedsNoGroup) {
  const AccessPolicy policy = AccessPolicy::SameUser().AllowUid(5);
  EXPECT_TRUE(policy.MayConnect(User(5)));
  EXPECT_FALSE(policy.MayConnect(User(6)));
}

TEST(AccessPolicyTest, AnAllowedGroupLetsItsMembersIn) {
  const AccessPolicy policy = AccessPolicy::SameUser().AllowGid(50);
  EXPECT_TRUE(policy.MayConnect(User(7777, {50})));
  EXPECT_TRUE(policy.MayConnect(User(7777, {7, 50})));
  EXPECT_FALSE(policy.MayConnect(User(7777, {7, 51})));
}

TEST(AccessPolicyTest, UserAndGroupNamesAreLookedUp) {
  AccessPolicy policy;
  ASSERT_THAT(policy.AllowUser("root"), IsOk());
  EXPECT_TRUE(policy.MayConnect(User(0)));
  EXPECT_FALSE(policy.MayConnect(User(7777, {0})));
  AccessPolicy of_group;
  ASSERT_THAT(of_group.AllowGroup("root"), IsOk());
  EXPECT_TRUE(of_group.MayConnect(User(7777, {0})));
  EXPECT_FALSE(of_group.MayConnect(User(0)));
}

TEST(AccessPolicyTest, ANameThatThereIsNotIsNamed) {
  AccessPolicy policy;
  EXPECT_THAT(policy.AllowUser("no-such-user"),
              StatusIs(StatusCode::kNotFound, HasSubstr("no-such-user")));
  EXPECT_THAT(policy.AllowGroup("no-such-group"),
              StatusIs(StatusCode::kNotFound, HasSubstr("no-such-group")));
  // A number is no name.
  EXPECT_THAT(policy.AllowUser("0"), StatusIs(StatusCode::kNotFound));
}

// Calling.

TEST(AccessPolicyTest, WithoutARuleWhoMayConnectMayCall) {
  const AccessPolicy policy = AccessPolicy().AllowUid(5);
  EXPECT_TRUE(MayCall(policy, 5, "kv.v1.Store", "Put"));
  EXPECT_FALSE(MayCall(policy, 6, "kv.v1.Store", "Put"));
}

TEST(AccessPolicyTest, OnceThereIsARuleItAloneDecides) {
  AccessPolicy policy = AccessPolicy().AllowUid(5);
  ASSERT_THAT(policy.AddRule("kv.v1.Store=user:6"), IsOk());
  EXPECT_FALSE(MayCall(policy, 5, "kv.v1.Store", "Put"));
  EXPECT_TRUE(MayCall(policy, 6, "kv.v1.Store", "Put"));
  EXPECT_TRUE(MayCall(policy, 5, "kv.v1.Other", "Put"));
  EXPECT_TRUE(MayCall(policy, 5, "kv.v1.Store2", "Put"));
}

TEST(AccessPolicyTest, TheRuleOfAMethodCountsMoreThanTheServices) {
  AccessPolicy policy = AccessPolicy().AllowUid(5);
  ASSERT_THAT(policy.AddRule("kv.v1.Store=user:6"), IsOk());
  ASSERT_THAT(policy.AddRule("kv.v1.Store/Put=user:7"), IsOk());
  EXPECT_FALSE(MayCall(policy, 6, "kv.v1.Store", "Put"));
  EXPECT_TRUE(MayCall(policy, 7, "kv.v1.Store", "Put"));
  EXPECT_TRUE(MayCall(policy, 6, "kv.v1.Store", "Get"));
  EXPECT_FALSE(MayCall(policy, 7, "kv.v1.Store", "Get"));
}

TEST(AccessPolicyTest, WhomARuleNamesMayConnectAndCallNothingElse) {
  AccessPolicy policy = AccessPolicy().AllowUid(5);
  ASSERT_THAT(policy.AddRule("kv.v1.Store/Get=group:50"), IsOk());
  const Caller member = User(7777, {50});
  EXPECT_TRUE(policy.MayConnect(member));
  EXPECT_FALSE(policy.MayCallWhatHasNoRule(member));
  EXPECT_THAT(policy.MayCall(member, "kv.v1.Store", "Get"), IsOk());
  EXPECT_THAT(policy.MayCall(member, "kv.v1.Store", "Put"),
              StatusIs(StatusCode::kPermissionDenied));
}

TEST(AccessPolicyTest, EverybodyIsWhoeverMayConnect) {
  AccessPolicy policy = AccessPolicy().AllowUid(5);
  ASSERT_THAT(policy.AddRule("kv.v1.Store=*"), IsOk());
  EXPECT_TRUE(MayCall(policy, 6, "kv.v1.Store", "Get"));
  EXPECT_FALSE(policy.MayConnect(User(6)));
}

TEST(AccessPolicyTest, RulesForTheSameAddUp) {
  AccessPolicy policy;
  ASSERT_THAT(policy.AddRule("kv.v1.Store=user:5"), IsOk());
  ASSERT_THAT(policy.AddRule("kv.v1.Store=user:6"), IsOk());
  EXPECT_TRUE(MayCall(policy, 5, "kv.v1.Store", "Get"));
  EXPECT_TRUE(MayCall(policy, 6, "kv.v1.Store", "Get"));
}

TEST(AccessPolicyTest, ADefaultHoldsUntilThereIsARule) {
  AccessPolicy policy = AccessPolicy().AllowUid(5);
  policy.SetDefault("kv.v1.Admin", AllowList().AllowUid(6));
  EXPECT_FALSE(MayCall(policy, 5, "kv.v1.Admin", "Look"));
  EXPECT_TRUE(MayCall(policy, 6, "kv.v1.Admin", "Look"));
  EXPECT_FALSE(policy.MayConnect(User(6)));
  ASSERT_THAT(policy.AddRule("kv.v1.Admin=user:5"), IsOk());
  EXPECT_TRUE(MayCall(policy, 5, "kv.v1.Admin", "Look"));
  EXPECT_FALSE(MayCall(policy, 6, "kv.v1.Admin", "Look"));
}

TEST(AccessPolicyTest, ADefaultSurvivesARuleForOneMethod) {
  AccessPolicy policy = AccessPolicy().AllowUid(5);
  policy.SetDefault("kv.v1.Admin", AllowList().AllowUid(6));
  ASSERT_THAT(policy.AddRule("kv.v1.Admin/Look=user:7"), IsOk());
  EXPECT_TRUE(MayCall(policy, 7, "kv.v1.Admin", "Look"));
  EXPECT_FALSE(MayCall(policy, 7, "kv.v1.Admin", "Touch"));
  EXPECT_FALSE(MayCall(policy, 5, "kv.v1.Admin", "Touch"));
}

TEST(AccessPolicyTest, ARefusalNamesTheCallerAndTheRule) {
  AccessPolicy policy = AccessPolicy().AllowUid(5);
  ASSERT_THAT(policy.AddRule("kv.v1.Store/Put=user:root,group:27"), IsOk());
  EXPECT_THAT(policy.MayCall(User(1001), "kv.v1.Store", "Put"),
              StatusIs(StatusCode::kPermissionDenied,
                       "uid 1001 may not call kv.v1.Store/Put: the rule for "
                       "kv.v1.Store/Put allows user root (uid 0), gid 27"));
  EXPECT_THAT(policy.MayCall(User(1001), "kv.v1.Store", "Get"),
              StatusIs(StatusCode::kPermissionDenied,
                       "uid 1001 may not call kv.v1.Store/Get: there is no "
                       "rule for it, and the server allows uid 5"));
}

TEST(AccessPolicyTest, ARuleForWhatThereIsNotIsRefused) {
  AccessPolicy policy;
  ASSERT_THAT(policy.AddRule("kv.v1.Store/Put=user:5"), IsOk());
  EXPECT_THAT(policy.CheckScopes({"kv.v1.Store", "kv.v1.Store/Put"}), IsOk());
  EXPECT_THAT(policy.CheckScopes({"kv.v1.Store", "kv.v1.Store/Get"}),
              StatusIs(StatusCode::kInvalidArgument,
                       "there is a rule for kv.v1.Store/Put, which this server "
                       "does not have; it has kv.v1.Store"));
}

// The command line.

TEST(AccessPolicyTest, WhatIsNoRuleIsRefused) {
  for (const char* text : {"",
                           "=",
                           "kv.v1.Store",
                           "=user:5",
                           "kv.v1.Store=",
                           "kv.v1.Store=alice",
                           "kv.v1.Store=user:",
                           "kv.v1.Store=uid:5",
                           "kv.v1.Store=user:5,",
                           "kv.v1.Store=,user:5",
                           "kv.v1.Store=user:5 ",
                           "kv.v1.Store=*,user:5",
                           "kv.v1.Store=user:4294967295",
                           "kv.v1.Store=user:99999999999",
                           "/kv.v1.Store/Put=user:5",
                           "kv.v1.Store/=user:5",
                           "kv.v1.Store/Put/x=user:5",
                           "kv..Store=user:5",
                           ".kv=user:5",
                           "kv.=user:5",
                           "kv.v1.Store /Put=user:5",
                           "kv.1.Store=user:5",
                           "/Put=user:5"}) {
    AccessPolicy policy;
    EXPECT_FALSE(policy.AddRule(text).ok()) << text;
    EXPECT_EQ(policy.RuleFor("kv.v1.Store", "Put"), nullptr) << text;
    EXPECT_EQ(policy.WhoMayConnect(), "nobody") << text;
  }
}

TEST(AccessPolicyTest, ARuleWithAnUnknownNameNamesIt) {
  AccessPolicy policy;
  EXPECT_THAT(policy.AddRule("kv.v1.Store=user:root,group:no-such-group"),
              StatusIs(StatusCode::kNotFound, HasSubstr("no-such-group")));
  EXPECT_FALSE(policy.MayConnect(User(0)));
}

}  // namespace
}  // namespace tandem::rpc

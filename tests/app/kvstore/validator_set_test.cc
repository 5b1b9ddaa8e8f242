#include "app/kvstore/validator_set.h"

#include <limits>
#include <string>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"

namespace tandem::app {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr std::int64_t kMaxPower = std::numeric_limits<std::int64_t>::max() / 8;

abci::ValidatorUpdate Ed25519(char id, std::int64_t power) {
  abci::ValidatorUpdate update;
  update.mutable_pub_key()->set_ed25519(std::string(32, id));
  update.set_power(power);
  return update;
}

abci::ValidatorUpdate Secp256k1(std::size_t bytes, std::int64_t power) {
  abci::ValidatorUpdate update;
  update.mutable_pub_key()->set_secp256k1(std::string(bytes, 'k'));
  update.set_power(power);
  return update;
}

TEST(ValidatorSetTest, AddsChangesAndRemoves) {
  ValidatorSet set;
  ASSERT_THAT(set.Apply(Ed25519('a', 1)), IsOk());
  ASSERT_THAT(set.Apply(Ed25519('b', 2)), IsOk());
  ASSERT_THAT(set.Apply(Ed25519('a', 3)), IsOk());
  ASSERT_THAT(set.Apply(Ed25519('b', 0)), IsOk());
  ASSERT_EQ(set.members().size(), 1u);
  EXPECT_EQ(set.members().begin()->second.power(), 3);
}

TEST(ValidatorSetTest, RefusesKeysThatNoValidatorHas) {
  ValidatorSet set;
  EXPECT_THAT(set.Apply(abci::ValidatorUpdate()),
              StatusIs(kInvalid, HasSubstr("neither ed25519 nor secp256k1")));
  EXPECT_THAT(set.Apply(Secp256k1(32, 1)),
              StatusIs(kInvalid, HasSubstr("32 bytes, not 33")));
  EXPECT_THAT(set.Apply(Secp256k1(33, 1)), IsOk());
}

TEST(ValidatorSetTest, RefusesKindsOfKeyThatTheChainDoesNotHave) {
  ValidatorSet set({"ed25519"});
  EXPECT_THAT(set.Apply(Secp256k1(33, 1)),
              StatusIs(kInvalid, HasSubstr("secp256k1")));
  EXPECT_THAT(set.Apply(Ed25519('a', 1)), IsOk());
}

TEST(ValidatorSetTest, RefusesToRemoveWhoIsNoMember) {
  ValidatorSet set;
  ASSERT_THAT(set.Apply(Ed25519('a', 1)), IsOk());
  EXPECT_THAT(set.Apply(Ed25519('b', 0)),
              StatusIs(kInvalid, HasSubstr("is not one")));
}

TEST(ValidatorSetTest, KeepsTheLastMember) {
  ValidatorSet set;
  ASSERT_THAT(set.Apply(Ed25519('a', 1)), IsOk());
  EXPECT_THAT(set.Apply(Ed25519('a', 0)),
              StatusIs(kInvalid, HasSubstr("last")));
}

TEST(ValidatorSetTest, RefusesNegativePower) {
  ValidatorSet set;
  EXPECT_THAT(set.Apply(Ed25519('a', -1)),
              StatusIs(kInvalid, HasSubstr("negative")));
}

TEST(ValidatorSetTest, RefusesMorePowerThanEnginesCount) {
  ValidatorSet set;
  ASSERT_THAT(set.Apply(Ed25519('a', kMaxPower)), IsOk());
  EXPECT_THAT(set.Apply(Ed25519('b', 1)),
              StatusIs(kInvalid, HasSubstr("power")));
  EXPECT_THAT(set.Apply(Ed25519('a', std::numeric_limits<std::int64_t>::max())),
              StatusIs(kInvalid, HasSubstr("power")));
  ASSERT_THAT(set.Apply(Ed25519('a', kMaxPower - 1)), IsOk());
  EXPECT_THAT(set.Apply(Ed25519('b', 1)), IsOk());
}

TEST(ValidatorSetTest, FindsMembersByTheHashOfTheirKey) {
  ValidatorSet set;
  ASSERT_THAT(set.Apply(Ed25519('\0', 1)), IsOk());
  ASSERT_THAT(set.Apply(Secp256k1(33, 1)), IsOk());
  // The first 20 bytes of SHA-256 over 32 zeros.
  const auto* member = set.FindByAddress(
      absl::HexStringToBytes("66687aadf862bd776c8fc18b8e9f8e2008971485"));
  ASSERT_NE(member, nullptr);
  EXPECT_TRUE(member->pub_key().has_ed25519());
  EXPECT_EQ(set.FindByAddress("somebody else"), nullptr);
}

TEST(ValidatorSetTest, ChangesAreWhatDiffers) {
  ValidatorSet before;
  ASSERT_THAT(before.Apply(Ed25519('a', 1)), IsOk());
  ASSERT_THAT(before.Apply(Ed25519('b', 2)), IsOk());
  ASSERT_THAT(before.Apply(Ed25519('c', 3)), IsOk());
  ValidatorSet after = before;
  ASSERT_THAT(after.Apply(Ed25519('b', 5)), IsOk());
  ASSERT_THAT(after.Apply(Ed25519('c', 0)), IsOk());
  ASSERT_THAT(after.Apply(Ed25519('d', 4)), IsOk());
  // Came and went: no engine knows it.
  ASSERT_THAT(after.Apply(Ed25519('e', 1)), IsOk());
  ASSERT_THAT(after.Apply(Ed25519('e', 0)), IsOk());

  std::string changes;
  for (const abci::ValidatorUpdate& change : after.ChangesSince(before)) {
    changes += RawKey(change.pub_key())[0] + std::to_string(change.power());
  }
  EXPECT_EQ(changes, "b5d4c0");
  EXPECT_TRUE(after.ChangesSince(after).empty());
}

TEST(ValidatorUpdateTest, TakesTheTypesOfKeyOfTheOriginal) {
  EXPECT_TRUE(ToValidatorUpdate({"", "k", 1})->pub_key().has_ed25519());
  EXPECT_TRUE(ToValidatorUpdate({"ed25519", "k", 1})->pub_key().has_ed25519());
  EXPECT_TRUE(
      ToValidatorUpdate({"secp256k1", "k", 1})->pub_key().has_secp256k1());
  EXPECT_THAT(ToValidatorUpdate({"rsa", "k", 1}), StatusIs(kInvalid));
}

}  // namespace
}  // namespace tandem::app

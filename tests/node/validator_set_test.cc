#include "node/validator_set.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "tests/node/golden.h"

namespace tandem::node {
namespace {

using rpc::testing::IsOk;
using rpc::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ValidatorUpdates Updates(
    std::initializer_list<std::pair<const char*, std::int64_t>> updates) {
  ValidatorUpdates out;
  for (const auto& [key, power] : updates) {
    auto& update = *out.Add();
    update.mutable_pub_key()->set_ed25519(FromHex(key));
    update.set_power(power);
  }
  return out;
}

std::vector<std::string> Addresses(const ValidatorSet& set) {
  std::vector<std::string> out;
  for (const auto& member : set) out.push_back(ToHex(AddressOf(member)));
  return out;
}

TEST(ValidatorSetTest, HashAndOrderAreCometBfts) {
  const auto set =
      ApplyUpdates({}, Updates({{kKeyOne, 5}, {kKeyTwo, 20}, {kKeyThree, 5}}));
  ASSERT_THAT(set, IsOk());
  EXPECT_THAT(Addresses(*set),
              ElementsAre(kAddressTwo, kAddressThree, kAddressOne));
  EXPECT_EQ(ToHex(HashOf(*set)),
            "ad5a8b0986240ab94845e9d19ea2b0ce4bb0b3f37b33285506bf4ed43d866148");
}

TEST(ValidatorSetTest, HashOfOneIsCometBfts) {
  const auto set = ApplyUpdates({}, Updates({{kKeyOne, 10}}));
  ASSERT_THAT(set, IsOk());
  EXPECT_EQ(ToHex(HashOf(*set)),
            "a3cac53918fa8bfdf6a648faeabff016ac9be0adc6ec819d0b21cbb5f0b79708");
}

TEST(ValidatorSetTest, UpdatesChangeAddAndRemove) {
  const auto set = ApplyUpdates({}, Updates({{kKeyOne, 5}, {kKeyTwo, 20}}));
  ASSERT_THAT(set, IsOk());
  const auto updated =
      ApplyUpdates(*set, Updates({{kKeyTwo, 0}, {kKeyThree, 1}, {kKeyOne, 9}}));
  ASSERT_THAT(updated, IsOk());
  EXPECT_THAT(Addresses(*updated), ElementsAre(kAddressOne, kAddressThree));
  EXPECT_EQ((*updated)[0].voting_power(), 9);
  EXPECT_TRUE(HasValidator(*updated, FromHex(kAddressThree)));
  EXPECT_FALSE(HasValidator(*updated, FromHex(kAddressTwo)));
}

TEST(ValidatorSetTest, NoUpdatesChangeNothing) {
  EXPECT_THAT(ApplyUpdates({}, {}), IsOk());
}

TEST(ValidatorSetTest, UpdatesAgainstTheRulesAreRefused) {
  const auto set = ApplyUpdates({}, Updates({{kKeyOne, 5}}));
  ASSERT_THAT(set, IsOk());
  const auto refused = [&](const ValidatorUpdates& updates, const char* why) {
    EXPECT_THAT(ApplyUpdates(*set, updates),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  refused(Updates({{kKeyTwo, -1}}), "power is -1");
  refused(Updates({{kKeyTwo, 0}}), "not in the set");
  refused(Updates({{kKeyOne, 0}}), "no validator");
  refused(Updates({{kKeyTwo, 1}, {kKeyTwo, 2}}), "updated twice");
  refused(Updates({{"00ff", 1}}), "2 bytes");
  refused(Updates({{kKeyTwo, INT64_MAX / 8}}), "total power");
  ValidatorUpdates secp;
  secp.Add()->mutable_pub_key()->set_secp256k1(std::string(33, 'k'));
  secp[0].set_power(1);
  refused(secp, "not Ed25519");
}

}  // namespace
}  // namespace tandem::node

#include "node/consensus_params.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "tests/node/golden.h"

namespace tandem::node {
namespace {

using rpc::testing::IsOk;
using rpc::testing::StatusIs;
using tendermint::types::ConsensusParams;
using ::testing::HasSubstr;

TEST(ConsensusParamsTest, DefaultsAreCometBftsByteForByte) {
  EXPECT_EQ(ToHex(DefaultConsensusParams().SerializeAsString()),
            kDefaultParams);
  EXPECT_THAT(CheckConsensusParams(DefaultConsensusParams()), IsOk());
}

TEST(ConsensusParamsTest, HashIsCometBfts) {
  EXPECT_EQ(ToHex(HashOf(DefaultConsensusParams())),
            "048091bc7ddc283f77bfbf91d73c44da58c3df8a9cbc867405d8b7f3daada22f");
}

TEST(ConsensusParamsTest, RoomForTransactionsIsCometBfts) {
  EXPECT_EQ(MaxTransactionBytes(DefaultConsensusParams(), 1), 22019254);
  EXPECT_EQ(MaxTransactionBytes(DefaultConsensusParams(), 4), 22018921);
  ConsensusParams any = DefaultConsensusParams();
  any.mutable_block()->set_max_bytes(-1);
  EXPECT_EQ(MaxTransactionBytes(any, 1), (100 << 20) - 842);
}

TEST(ConsensusParamsTest, APresentPartReplacesTheWholePart) {
  ConsensusParams updates;
  updates.mutable_block()->set_max_bytes(2 << 20);
  updates.mutable_version()->set_app(3);
  const auto updated = UpdateConsensusParams(DefaultConsensusParams(), updates);
  ASSERT_THAT(updated, IsOk());
  EXPECT_EQ(updated->block().max_bytes(), 2 << 20);
  EXPECT_EQ(updated->block().max_gas(), 0);
  EXPECT_EQ(updated->version().app(), 3u);
  EXPECT_EQ(updated->evidence().max_bytes(), 1 << 20);
}

TEST(ConsensusParamsTest, UpdatesAgainstTheRulesAreRefused) {
  const auto refused = [](auto change, const char* why) {
    ConsensusParams updates = DefaultConsensusParams();
    change(updates);
    EXPECT_THAT(UpdateConsensusParams(DefaultConsensusParams(), updates),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  using P = ConsensusParams;
  refused([](P& p) { p.mutable_block()->set_max_bytes(0); }, "max_bytes is 0");
  refused([](P& p) { p.mutable_block()->set_max_bytes(-2); }, "max_bytes");
  refused([](P& p) { p.mutable_block()->set_max_bytes((100 << 20) + 1); },
          "block.max_bytes");
  refused([](P& p) { p.mutable_block()->set_max_gas(-2); }, "max_gas");
  refused([](P& p) { p.mutable_evidence()->set_max_age_num_blocks(0); },
          "max_age_num_blocks");
  refused([](P& p) { p.mutable_evidence()->clear_max_age_duration(); },
          "max_age_duration");
  refused([](P& p) { p.mutable_evidence()->set_max_bytes(30 << 20); },
          "evidence.max_bytes");
  refused([](P& p) { p.mutable_validator()->clear_pub_key_types(); },
          "pub_key_types is empty");
  refused(
      [](P& p) { p.mutable_validator()->set_pub_key_types(0, "secp256k1"); },
      "only type supported");
  refused([](P& p) { p.mutable_validator()->add_pub_key_types("secp256k1"); },
          "holds \"secp256k1\"");
  refused([](P& p) { p.mutable_abci()->set_vote_extensions_enable_height(9); },
          "vote_extensions_enable_height is 9");
}

}  // namespace
}  // namespace tandem::node

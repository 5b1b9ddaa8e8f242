#include "node/genesis.h"

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/sha256.h"
#include "rpc/testing/status_matchers.h"
#include "tests/node/golden.h"

namespace tandem::node {
namespace {

using rpc::testing::IsOk;
using rpc::testing::StatusIs;
using ::testing::HasSubstr;

// What the Cosmos SDK writes.
constexpr char kAppGenesis[] = R"({
  "app_name": "wasmd", "app_version": "1",
  "genesis_time": "2026-01-02T03:04:05Z",
  "chain_id": "sdk-1", "initial_height": 1, "app_hash": null,
  "app_state": {"bank":{"note":"\\\"app_state\": {"},"n":[1, {}]},
  "consensus": {
    "params": {
      "block": {"max_bytes": "1000000", "max_gas": "5"},
      "evidence": {"max_age_num_blocks": "7", "max_age_duration": "1500000000",
                   "max_bytes": "9"},
      "validator": {"pub_key_types": ["ed25519"]},
      "version": {"app": "2"}, "abci": {}
    }
  }
})";

std::string With(const char* from, const char* to) {
  return absl::StrReplaceAll(kGenesisFile, {{from, to}});
}

TEST(GenesisTest, ReadsCometBftsForm) {
  const auto genesis = ParseGenesis(kGenesisFile);
  ASSERT_THAT(genesis, IsOk());
  EXPECT_EQ(genesis->chain_id, "golden");
  EXPECT_EQ(genesis->initial_height, 7);
  EXPECT_EQ(genesis->time.seconds(), 1767323045);
  EXPECT_EQ(genesis->time.nanos(), 6);
  EXPECT_EQ(ToHex(genesis->params.SerializeAsString()), kDefaultParams);
  ASSERT_EQ(genesis->validators.size(), 1);
  EXPECT_EQ(ToHex(genesis->validators[0].pub_key().ed25519()), kKeyOne);
  EXPECT_EQ(genesis->validators[0].power(), 10);
  EXPECT_EQ(genesis->app_hash, "");
  EXPECT_EQ(genesis->hash, rpc::Sha256(kGenesisFile));
}

TEST(GenesisTest, ReadsTheCosmosSdksForm) {
  const auto genesis = ParseGenesis(kAppGenesis);
  ASSERT_THAT(genesis, IsOk());
  EXPECT_EQ(genesis->chain_id, "sdk-1");
  EXPECT_EQ(genesis->initial_height, 1);
  EXPECT_EQ(genesis->params.block().max_bytes(), 1000000);
  EXPECT_EQ(genesis->params.block().max_gas(), 5);
  EXPECT_EQ(genesis->params.evidence().max_age_duration().seconds(), 1);
  EXPECT_EQ(genesis->params.evidence().max_age_duration().nanos(), 500000000);
  EXPECT_EQ(genesis->params.version().app(), 2u);
  EXPECT_TRUE(genesis->params.has_abci());
  EXPECT_FALSE(genesis->params.has_authority());
  EXPECT_TRUE(genesis->validators.empty());
}

TEST(GenesisTest, AppStateIsKeptByteForByte) {
  const auto comet = ParseGenesis(kGenesisFile);
  ASSERT_THAT(comet, IsOk());
  EXPECT_EQ(comet->app_state,
            "{\n    \"a\": [\n      1,\n      \"}\"\n    ],\n    \"b\": "
            "\"\\\"x\"\n  }");
  const auto sdk = ParseGenesis(kAppGenesis);
  ASSERT_THAT(sdk, IsOk());
  EXPECT_EQ(sdk->app_state,
            R"({"bank":{"note":"\\\"app_state\": {"},"n":[1, {}]})");
}

TEST(GenesisTest, AppStateMayBeAnyJsonOrNone) {
  const std::string head = R"({"chain_id": "c", )"
                           R"("genesis_time": "2026-01-02T03:04:05Z")";
  const auto app_state = [&](const std::string& rest) {
    const auto genesis = ParseGenesis(head + rest);
    EXPECT_THAT(genesis, IsOk());
    return genesis.ok() ? genesis->app_state : "";
  };
  EXPECT_EQ(app_state("}"), "");
  EXPECT_EQ(app_state(", \"app_state\": 12.5}"), "12.5");
  EXPECT_EQ(app_state(", \"app_state\" : \"}\\\"\" , \"x\": 1}"), "\"}\\\"\"");
  EXPECT_EQ(app_state(", \"app_state\": []}"), "[]");
}

TEST(GenesisTest, AnAuthorityIsSentWhereTheFileHasOne) {
  const auto genesis =
      ParseGenesis(With("\"version\": {",
                        "\"authority\": {\"authority\": \"me\"}, "
                        "\"version\": {"));
  ASSERT_THAT(genesis, IsOk());
  EXPECT_EQ(genesis->params.authority().authority(), "me");
}

TEST(GenesisTest, MissingParametersAreTheDefaults) {
  const auto genesis = ParseGenesis(
      R"({"chain_id": "c", "genesis_time": "2026-01-02T03:04:05Z"})");
  ASSERT_THAT(genesis, IsOk());
  EXPECT_EQ(ToHex(genesis->params.SerializeAsString()), kDefaultParams);
  EXPECT_EQ(genesis->initial_height, 1);
}

TEST(GenesisTest, ANewGenesisIsReadBack) {
  const auto genesis = ParseGenesis(NewGenesis(FromHex(kKeyOne)));
  ASSERT_THAT(genesis, IsOk());
  EXPECT_THAT(genesis->chain_id, HasSubstr("tandem-"));
  ASSERT_EQ(genesis->validators.size(), 1);
  EXPECT_EQ(ToHex(genesis->validators[0].pub_key().ed25519()), kKeyOne);
  EXPECT_EQ(genesis->app_state, "{}");
  EXPECT_NE(ParseGenesis(NewGenesis(FromHex(kKeyOne)))->chain_id,
            genesis->chain_id);
}

TEST(GenesisTest, WhatIsWrongIsNamed) {
  const auto refused = [](const std::string& text, const char* why) {
    EXPECT_THAT(ParseGenesis(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)))
        << text;
  };
  refused("", "not a JSON object");
  refused("[]", "not a JSON object");
  refused("{\"chain_id\": ", "not a JSON object");
  refused("{}", "chain_id is missing");
  refused(With("\"golden\"", "5"), "chain_id is not a string");
  refused(With("golden", std::string(51, 'x').c_str()), "50 bytes");
  refused(With("\"7\"", "\"-7\""), "initial_height is negative");
  refused(With("\"7\"", "\"seven\""), "initial_height is not a whole number");
  refused(With("\"7\"", "7.5"), "initial_height is not a whole number");
  refused(With("\"7\"", "18446744073709551615"), "out of range");
  refused(With("2026-01-02T03:04:05.000000006Z", "yesterday"), "genesis_time");
  refused(With("\"22020096\"", "\"0\""), "block.max_bytes is 0");
  refused(With("[\n        \"ed25519\"\n      ]", "\"ed25519\""),
          "pub_key_types is not a list");
  refused(With("\"power\": \"10\"", "\"power\": \"0\""), "without power");
  refused(With("tendermint/PubKeyEd25519", "tendermint/PubKeySecp256k1"),
          "only tendermint/PubKeyEd25519");
  refused(With("eGVygzLgOmO2RCtC75jusdS+/R6cUDK4PXD2Tl9VGlA=", "eGVy"),
          "3 bytes");
}

}  // namespace
}  // namespace tandem::node

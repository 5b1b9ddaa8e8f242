// What CometBFT v0.38.23 made of known input (its types.ValidatorSet.Hash(),
// ConsensusParams.Hash(), privval and genesis files, and so on).

#ifndef TANDEM_TESTS_NODE_GOLDEN_H_
#define TANDEM_TESTS_NODE_GOLDEN_H_

#include <string>
#include <string_view>

#include "absl/strings/escaping.h"

namespace tandem::node {

inline std::string FromHex(std::string_view hex) {
  return absl::HexStringToBytes(std::string(hex));
}

inline std::string ToHex(const std::string& bytes) {
  return absl::BytesToHexString(bytes);
}

// Ed25519 public keys, and their addresses.
inline constexpr char kKeyOne[] =
    "7865728332e03a63b6442b42ef98eeb1d4befd1e9c5032b83d70f64e5f551a50";
inline constexpr char kAddressOne[] =
    "8c31dc5d886e28ffd48bbe6ee2e901c486794069";
inline constexpr char kKeyTwo[] =
    "5ff9bfb73f8f2cafba626dd59bda0eb4803bd262edf140ff6eec63973691321c";
inline constexpr char kAddressTwo[] =
    "e0df6248c3e9a487114cc44beae5c5c55bcd1dc4";
inline constexpr char kKeyThree[] =
    "0946352ac190dd7ef548240985cef2aa80da8c8bb9e7b0e539fa1d79a2395272";
inline constexpr char kAddressThree[] =
    "8053a3fe6ef2718fb5b1ab474cc61941881b015f";

// priv_validator_key.json of the first key.
inline constexpr char kKeyFileOne[] = R"({
  "address": "8C31DC5D886E28FFD48BBE6EE2E901C486794069",
  "pub_key": {
    "type": "tendermint/PubKeyEd25519",
    "value": "eGVygzLgOmO2RCtC75jusdS+/R6cUDK4PXD2Tl9VGlA="
  },
  "priv_key": {
    "type": "tendermint/PrivKeyEd25519",
    "value": "dpLDrTVAu4A8Ags67mbNiIcSMjTqDG5xQ8Ct1z/0Me14ZXKDMuA6Y7ZEK0LvmO6x1L79HpxQMrg9cPZOX1UaUA=="
  }
})";
// Its signature over "hello".
inline constexpr char kSignatureOne[] =
    "7e397b214712ee9c4dd97107f9fb2eb5109b7e1632af9b3fc47bff1b9171b7f9"
    "c9e055efbb89ea651a9c64945448d7a59156c326088a55c4333aced58a595302";

// genesis.json.
inline constexpr char kGenesisFile[] = R"({
  "genesis_time": "2026-01-02T03:04:05.000000006Z",
  "chain_id": "golden",
  "initial_height": "7",
  "consensus_params": {
    "block": {
      "max_bytes": "22020096",
      "max_gas": "-1"
    },
    "evidence": {
      "max_age_num_blocks": "100000",
      "max_age_duration": "172800000000000",
      "max_bytes": "1048576"
    },
    "validator": {
      "pub_key_types": [
        "ed25519"
      ]
    },
    "version": {
      "app": "0"
    },
    "abci": {
      "vote_extensions_enable_height": "0"
    }
  },
  "validators": [
    {
      "address": "8C31DC5D886E28FFD48BBE6EE2E901C486794069",
      "pub_key": {
        "type": "tendermint/PubKeyEd25519",
        "value": "eGVygzLgOmO2RCtC75jusdS+/R6cUDK4PXD2Tl9VGlA="
      },
      "power": "10",
      "name": "n"
    }
  ],
  "app_hash": "",
  "app_state": {
    "a": [
      1,
      "}"
    ],
    "b": "\"x"
  }
})";
// CometBFT's encoding of those consensus parameters.
inline constexpr char kDefaultParams[] =
    "0a10088080c00a10ffffffffffffffffff01120e08a08d0612040880c60a188080401a09"
    "0a076564323535313922002a00";

}  // namespace tandem::node

#endif  // TANDEM_TESTS_NODE_GOLDEN_H_

// What a chain starts from.

#ifndef TANDEM_NODE_GENESIS_H_
#define TANDEM_NODE_GENESIS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "google/protobuf/timestamp.pb.h"
#include "node/validator_set.h"
#include "tendermint/types/params.pb.h"

namespace tandem::node {

// The content of a genesis file.
struct Genesis {
  std::string chain_id;
  google::protobuf::Timestamp time;
  std::int64_t initial_height = 1;
  tendermint::types::ConsensusParams params;
  // May be empty: then the application names the validators.
  ValidatorUpdates validators;
  std::string app_hash;
  // JSON, byte for byte as in the file; empty when the file has none.
  std::string app_state;
  // SHA-256 of the file.
  std::string hash;
};

// Reads a genesis file: CometBFT's (genesis.json) or that of the Cosmos SDK
// (AppGenesis, with "consensus"). Whole numbers may be JSON numbers or strings.
// Consensus parameters that are missing take CometBFT's defaults.
//
// Errors: kInvalidArgument with the name of the member that is wrong.
absl::StatusOr<Genesis> ParseGenesis(std::string_view text);

// The text of a genesis file (CometBFT's form) for a new chain of its own name,
// which starts now with the one validator of that key.
std::string NewGenesis(std::string_view public_key);

}  // namespace tandem::node

#endif  // TANDEM_NODE_GENESIS_H_

// The rules of a chain that its application may change.

#ifndef TANDEM_NODE_CONSENSUS_PARAMS_H_
#define TANDEM_NODE_CONSENSUS_PARAMS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tendermint/types/params.pb.h"

namespace tandem::node {

// CometBFT's defaults, with every part present as a 0.38 node sends it: which
// parts are present enters the application hash of Cosmos SDK chains.
tendermint::types::ConsensusParams DefaultConsensusParams();

// Errors: kInvalidArgument, by CometBFT's rules; and when vote extensions are
// asked for, which this node does not make.
absl::Status CheckConsensusParams(
    const tendermint::types::ConsensusParams& params);

// `params` after `updates`, checked: a part that is present replaces the whole
// part, one that is absent keeps it.
absl::StatusOr<tendermint::types::ConsensusParams> UpdateConsensusParams(
    const tendermint::types::ConsensusParams& params,
    const tendermint::types::ConsensusParams& updates);

// CometBFT's consensus_hash.
std::string HashOf(const tendermint::types::ConsensusParams& params);

// Bytes that transactions may take in a block with so many validators, each
// counted by abci::BytesInBlock: CometBFT's max_tx_bytes. Negative when the
// block size does not even hold the rest of a block.
std::int64_t MaxTransactionBytes(
    const tendermint::types::ConsensusParams& params, int validators);

}  // namespace tandem::node

#endif  // TANDEM_NODE_CONSENSUS_PARAMS_H_

// Blocks: made, hashed, and told to the application. The hashes are defined in
// proto/tandem/node/v1/node.proto.

#ifndef TANDEM_NODE_BLOCK_H_
#define TANDEM_NODE_BLOCK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "google/protobuf/timestamp.pb.h"
#include "node/chain_state.pb.h"
#include "node/validator_key.h"
#include "tandem/node/v1/node.pb.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::node {

using store::ChainState;
using Transactions = google::protobuf::RepeatedPtrField<std::string>;

std::string HashOf(const v1::Header& header);
std::string TransactionsRoot(const Transactions& txs);
std::string HashOf(const v1::Commit& commit);
std::string ResultsHash(
    const google::protobuf::RepeatedPtrField<tendermint::abci::ExecTxResult>&
        results);

// The height of the block after `state`.
std::int64_t NextHeight(const ChainState& state);

// The time of the block after `state`, made now: the genesis time for the first
// block, as in CometBFT; else later than the last.
google::protobuf::Timestamp NextBlockTime(const ChainState& state,
                                          absl::Time now);

// The commit of the last block of `state`: the vote of `key`, and no vote of
// the other validators. Empty before the first block.
v1::Commit LastCommit(const ChainState& state, const ValidatorKey& key);

// The block after `state`, with `txs`.
v1::Block MakeBlock(const ChainState& state, const ValidatorKey& key,
                    Transactions txs, v1::Commit last_commit,
                    const google::protobuf::Timestamp& time);

// What the application is told of the commit in a block.
tendermint::abci::CommitInfo CommitInfoOf(const v1::Commit& commit);

// The requests that show `block` to the application.
tendermint::abci::RequestProcessProposal ProcessProposalOf(
    const v1::Block& block);
tendermint::abci::RequestFinalizeBlock FinalizeBlockOf(const v1::Block& block);

// `block` with what the application answered, as clients read it.
v1::CommittedBlock MakeCommitted(
    v1::Block block, tendermint::abci::ResponseFinalizeBlock response);

}  // namespace tandem::node

#endif  // TANDEM_NODE_BLOCK_H_

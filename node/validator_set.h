// Who makes blocks, with how much power.

#ifndef TANDEM_NODE_VALIDATOR_SET_H_
#define TANDEM_NODE_VALIDATOR_SET_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "tendermint/abci/types.pb.h"
#include "tendermint/types/validator.pb.h"

namespace tandem::node {

// A set in its canonical order: by power, largest first, then by address.
using ValidatorSet =
    google::protobuf::RepeatedPtrField<tendermint::types::SimpleValidator>;
using ValidatorUpdates =
    google::protobuf::RepeatedPtrField<tendermint::abci::ValidatorUpdate>;

// The address of a member (Ed25519; 20 bytes).
std::string AddressOf(const tendermint::types::SimpleValidator& validator);

bool HasValidator(const ValidatorSet& set, std::string_view address);

// CometBFT's validators_hash.
std::string HashOf(const ValidatorSet& set);

// `set` after `updates`: a power of 0 removes a member. An empty list of
// updates changes nothing.
//
// Errors: kInvalidArgument, as CometBFT: a negative power, a key that is not
// Ed25519 of 32 bytes, two updates of one validator, removal of one that is not
// in the set, no validator left, or a total power above 2^60 - 1.
absl::StatusOr<ValidatorSet> ApplyUpdates(const ValidatorSet& set,
                                          const ValidatorUpdates& updates);

}  // namespace tandem::node

#endif  // TANDEM_NODE_VALIDATOR_SET_H_

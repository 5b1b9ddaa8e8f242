// The validators that the key-value store knows, and the rules for changing
// them.

#ifndef TANDEM_APP_KVSTORE_VALIDATOR_SET_H_
#define TANDEM_APP_KVSTORE_VALIDATOR_SET_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "app/application.h"
#include "app/kvstore/transaction.h"

namespace tandem::app {

// Which validators there are, by their raw public key. Refuses the changes that
// an engine would stop at: unknown kinds of key, keys of the wrong length, the
// removal of who is no member or of the last member, too much power.
//
// Thread safety: thread-compatible. Cheap to copy: there are few validators.
class ValidatorSet {
 public:
  // `key_types`: the kinds of key that the chain allows; empty: all we know.
  explicit ValidatorSet(std::vector<std::string> key_types = {})
      : key_types_(std::move(key_types)) {}

  // Adds a validator, changes its power, or removes it (power 0).
  //
  // Errors: kInvalidArgument, and the set is as before.
  absl::Status Apply(const abci::ValidatorUpdate& update);

  // The member with this address, or null.
  const abci::ValidatorUpdate* FindByAddress(std::string_view address) const;

  // What an engine that knows `before` is told: the members that are new or
  // have other power, then those that are gone, with power 0.
  std::vector<abci::ValidatorUpdate> ChangesSince(
      const ValidatorSet& before) const;

  const std::map<std::string, abci::ValidatorUpdate>& members() const {
    return members_;
  }

 private:
  std::vector<std::string> key_types_;
  std::map<std::string, abci::ValidatorUpdate> members_;
  std::int64_t total_power_ = 0;
};

// What a transaction asks for, as the engine is told it. Errors:
// kInvalidArgument when the type of key is neither ed25519 (also written as
// nothing) nor secp256k1.
absl::StatusOr<abci::ValidatorUpdate> ToValidatorUpdate(const SetPower& change);

// The raw bytes of a key, empty for a kind that we do not know.
const std::string& RawKey(const tendermint::crypto::PublicKey& key);

}  // namespace tandem::app

#endif  // TANDEM_APP_KVSTORE_VALIDATOR_SET_H_

// What an application may change of its chain, by CometBFT's rules.

#ifndef TANDEM_PROTO_ABCI_CHAIN_CHANGES_H_
#define TANDEM_PROTO_ABCI_CHAIN_CHANGES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/repeated_ptr_field.h"
#include "tendermint/abci/types.pb.h"
#include "tendermint/types/params.pb.h"

namespace tandem::abci {

// The power of each validator, by its key (a serialized PublicKey).
using ValidatorSet = std::map<std::string, std::int64_t>;
using ValidatorUpdates =
    google::protobuf::RepeatedPtrField<tendermint::abci::ValidatorUpdate>;
using tendermint::types::ConsensusParams;

// The power of each validator, by its address; under "" those whose address
// cannot be told, as it can of Ed25519 keys.
std::multimap<std::string, std::int64_t> PowersByAddress(
    const ValidatorSet& set);

// Each function appends to `faults` what is against the rules: words that go on
// after "FinalizeBlock of height 7", such as "removes all validators".
using Faults = std::vector<std::string>;

// Changes `set` by `updates`, in spite of faults. `set` is null where it is
// unknown, and so are `params`, those in force.
void Apply(const ValidatorUpdates& updates, const ConsensusParams* params,
           ValidatorSet* set, Faults& faults);

// A part of `update` that is there replaces all of it in `params`.
void Apply(const ConsensusParams& update, ConsensusParams& params);

// `update` makes `after`.
void Check(const ConsensusParams& update, const ConsensusParams& after,
           Faults& faults);

// `update` of the parameters `before`, by the block of that height: vote
// extensions begin in the future, and never end.
void CheckEnableHeight(const ConsensusParams& update,
                       const ConsensusParams& before, std::int64_t height,
                       Faults& faults);

// Whether validators extend their votes for the block of that height.
bool HasVoteExtensions(const ConsensusParams& params, std::int64_t height);

// Something that blocks change, as it was after each of them.
//
// Thread safety: thread-compatible.
template <typename T>
class History {
 public:
  // Null where it is unknown.
  const T* After(std::int64_t height) const {
    if (height > known_) return nullptr;
    const auto next = changes_.upper_bound(height);
    return next == changes_.begin() ? nullptr : &std::prev(next)->second;
  }
  // The block of that height has changed it. Heights come one after the other,
  // and may come again; where there is a gap, what was before is forgotten.
  void Change(std::int64_t height, T value) {
    Keep(height);
    changes_[height] = std::move(value);
    if (changes_.size() > kMostChanges) changes_.erase(changes_.begin());
  }
  // It has not.
  void Keep(std::int64_t height) {
    if (height > known_ + 1) Forget();
    known_ = std::max(known_, height);
  }
  void Forget() {
    changes_.clear();
    known_ = -1;
  }

 private:
  static constexpr std::size_t kMostChanges = 1000;

  std::map<std::int64_t, T> changes_;  // by the height that made it
  std::int64_t known_ = -1;            // up to here
};

}  // namespace tandem::abci

#endif  // TANDEM_PROTO_ABCI_CHAIN_CHANGES_H_

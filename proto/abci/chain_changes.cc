#include "proto/abci/chain_changes.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "rpc/base/hex.h"
#include "rpc/base/sha256.h"

namespace tandem::abci {
namespace {

using rpc::HexOrNone;
using tendermint::abci::ValidatorUpdate;
using tendermint::crypto::PublicKey;

// The most that all validators have together.
constexpr std::int64_t kMostPower =
    std::numeric_limits<std::int64_t>::max() / 8;
constexpr std::int64_t kMostBlockBytes = 100 << 20;
constexpr std::size_t kAddressBytes = 20;

// As consensus parameters name it; "" for a kind that is not CometBFT 0.38's.
std::string TypeOf(const PublicKey& key) {
  switch (key.sum_case()) {
    case PublicKey::kEd25519:
      return "ed25519";
    case PublicKey::kSecp256K1:
      return "secp256k1";
    default:
      return "";
  }
}

bool HasRightLength(const PublicKey& key) {
  switch (key.sum_case()) {
    case PublicKey::kEd25519:
      return key.ed25519().size() == 32;
    case PublicKey::kSecp256K1:
      return key.secp256k1().size() == 33;
    case PublicKey::SUM_NOT_SET:
      return false;
    default:
      return true;
  }
}

void CheckOne(const ValidatorUpdate& update, const ConsensusParams* params,
              Faults& faults) {
  const std::string key = HexOrNone(update.pub_key().SerializeAsString());
  if (!HasRightLength(update.pub_key())) {
    faults.push_back(
        absl::StrCat("updates a validator whose key is none: ", key));
  }
  if (update.power() < 0) {
    faults.push_back(absl::StrCat("gives the validator ", key, " the power ",
                                  update.power()));
  }
  const std::string type = TypeOf(update.pub_key());
  if (update.power() <= 0 || type.empty() || params == nullptr) return;
  const auto& types = params->validator().pub_key_types();
  if (std::find(types.begin(), types.end(), type) == types.end()) {
    faults.push_back(absl::StrCat("gives a validator a key of the kind ", type,
                                  ", which the chain does not allow"));
  }
}

void CheckTotal(const ValidatorSet& set, Faults& faults) {
  if (set.empty()) faults.push_back("removes all validators");
  // Each is checked, so that the sum cannot overflow.
  std::int64_t total = 0;
  for (const auto& [key, power] : set) {
    if (power > kMostPower - total) {
      return faults.push_back(absl::StrCat(
          "gives all validators together more than the power ", kMostPower));
    }
    total += std::max<std::int64_t>(power, 0);
  }
}

void CheckBlock(const ConsensusParams& params, Faults& faults) {
  const std::int64_t bytes = params.block().max_bytes();
  if (bytes == 0 || bytes < -1 || bytes > kMostBlockBytes) {
    faults.push_back(absl::StrCat("sets block.max_bytes to ", bytes));
  }
  if (params.block().max_gas() < -1) {
    faults.push_back(
        absl::StrCat("sets block.max_gas to ", params.block().max_gas()));
  }
}

void CheckEvidence(const ConsensusParams& params, Faults& faults) {
  const auto& evidence = params.evidence();
  if (evidence.max_age_num_blocks() <= 0) {
    faults.push_back(absl::StrCat("sets evidence.max_age_num_blocks to ",
                                  evidence.max_age_num_blocks()));
  }
  const auto& age = evidence.max_age_duration();
  if (age.seconds() < 0 || age.nanos() < 0 ||
      (age.seconds() == 0 && age.nanos() == 0)) {
    faults.push_back(absl::StrCat("sets evidence.max_age_duration to ",
                                  age.seconds(), " seconds"));
  }
  if (evidence.max_bytes() < 0) {
    faults.push_back(
        absl::StrCat("sets evidence.max_bytes to ", evidence.max_bytes()));
  }
}

}  // namespace

std::multimap<std::string, std::int64_t> PowersByAddress(
    const ValidatorSet& set) {
  std::multimap<std::string, std::int64_t> powers;
  for (const auto& [bytes, power] : set) {
    PublicKey key;
    const bool has_address = key.ParseFromString(bytes) && key.has_ed25519();
    powers.emplace(
        has_address ? rpc::Sha256(key.ed25519()).substr(0, kAddressBytes) : "",
        power);
  }
  return powers;
}

void Apply(const ValidatorUpdates& updates, const ConsensusParams* params,
           ValidatorSet* set, Faults& faults) {
  if (updates.empty()) return;
  std::set<std::string> seen;
  for (const ValidatorUpdate& update : updates) {
    CheckOne(update, params, faults);
    const std::string key = update.pub_key().SerializeAsString();
    if (!seen.insert(key).second) {
      faults.push_back(
          absl::StrCat("updates the validator ", HexOrNone(key), " twice"));
    }
    if (set == nullptr) continue;
    if (update.power() != 0) {
      (*set)[key] = update.power();
    } else if (set->erase(key) == 0) {
      faults.push_back(absl::StrCat("removes the validator ", HexOrNone(key),
                                    ", which is not one"));
    }
  }
  if (set != nullptr) CheckTotal(*set, faults);
}

void Apply(const ConsensusParams& update, ConsensusParams& params) {
  if (update.has_block()) *params.mutable_block() = update.block();
  if (update.has_evidence()) *params.mutable_evidence() = update.evidence();
  if (update.has_validator()) *params.mutable_validator() = update.validator();
  if (update.has_version()) *params.mutable_version() = update.version();
  if (update.has_abci()) *params.mutable_abci() = update.abci();
  if (update.has_authority()) *params.mutable_authority() = update.authority();
}

void Check(const ConsensusParams& update, const ConsensusParams& after,
           Faults& faults) {
  if (update.has_block()) CheckBlock(update, faults);
  if (update.has_evidence()) CheckEvidence(update, faults);
  const std::int64_t room = after.block().max_bytes();
  if ((update.has_block() || update.has_evidence()) && after.has_block() &&
      after.evidence().max_bytes() > (room == -1 ? kMostBlockBytes : room)) {
    faults.push_back(absl::StrCat("leaves evidence.max_bytes at ",
                                  after.evidence().max_bytes(),
                                  ", block.max_bytes at ", room));
  }
  if (update.has_validator() && update.validator().pub_key_types().empty()) {
    faults.push_back("allows validators no kind of key");
  }
  if (update.abci().vote_extensions_enable_height() < 0) {
    faults.push_back(
        absl::StrCat("sets abci.vote_extensions_enable_height to ",
                     update.abci().vote_extensions_enable_height()));
  }
}

void CheckEnableHeight(const ConsensusParams& update,
                       const ConsensusParams& before, std::int64_t height,
                       Faults& faults) {
  if (!update.has_abci()) return;
  const std::int64_t from = before.abci().vote_extensions_enable_height();
  const std::int64_t to = update.abci().vote_extensions_enable_height();
  if (from == to) return;
  if (HasVoteExtensions(before, height)) {
    faults.push_back(absl::StrCat("sets abci.vote_extensions_enable_height to ",
                                  to, ", though votes are extended since ",
                                  from));
  } else if (to > 0 && to <= height) {
    faults.push_back(absl::StrCat("sets abci.vote_extensions_enable_height to ",
                                  to, ", which is past"));
  }
}

bool HasVoteExtensions(const ConsensusParams& params, std::int64_t height) {
  const std::int64_t first = params.abci().vote_extensions_enable_height();
  return first > 0 && height >= first;
}

}  // namespace tandem::abci

#include "app/kvstore/validator_set.h"

#include <openssl/evp.h>

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"

namespace tandem::app {
namespace {

using tendermint::crypto::PublicKey;

constexpr std::string_view kEd25519 = "ed25519";
constexpr std::string_view kSecp256k1 = "secp256k1";
constexpr std::size_t kEd25519Bytes = 32;
constexpr std::size_t kSecp256k1Bytes = 33;
constexpr std::size_t kAddressBytes = 20;

// The limit of the engine.
constexpr std::int64_t kMaxTotalPower =
    std::numeric_limits<std::int64_t>::max() / 8;

absl::Status Invalid(std::string_view why) {
  return absl::InvalidArgumentError(std::string(why));
}

std::string Hash(const EVP_MD* kind, std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (kind == nullptr || EVP_Digest(bytes.data(), bytes.size(), digest, &size,
                                    kind, nullptr) != 1) {
    return "";
  }
  return std::string(reinterpret_cast<char*>(digest), size);
}

// Empty when this machine's OpenSSL lacks the algorithm.
std::string AddressOf(const PublicKey& key) {
  const std::string digest = Hash(EVP_sha256(), RawKey(key));
  if (key.has_ed25519()) return digest.substr(0, kAddressBytes);
  return Hash(EVP_ripemd160(), digest);
}

absl::Status CheckKey(const PublicKey& key,
                      const std::vector<std::string>& allowed) {
  if (!key.has_ed25519() && !key.has_secp256k1()) {
    return Invalid("the validator's key is neither ed25519 nor secp256k1");
  }
  const bool is_ed25519 = key.has_ed25519();
  const std::string_view type = is_ed25519 ? kEd25519 : kSecp256k1;
  const std::size_t bytes = is_ed25519 ? kEd25519Bytes : kSecp256k1Bytes;
  if (RawKey(key).size() != bytes) {
    return Invalid(absl::StrCat("the validator's ", std::string(type),
                                " key has ", RawKey(key).size(), " bytes, not ",
                                bytes));
  }
  if (allowed.empty() || std::ranges::find(allowed, type) != allowed.end()) {
    return absl::OkStatus();
  }
  return Invalid(absl::StrCat("this chain has no validators with keys of type ",
                              std::string(type)));
}

}  // namespace

const std::string& RawKey(const PublicKey& key) {
  return key.has_ed25519() ? key.ed25519() : key.secp256k1();
}

absl::StatusOr<abci::ValidatorUpdate> ToValidatorUpdate(
    const SetPower& change) {
  abci::ValidatorUpdate update;
  if (change.key_type.empty() || change.key_type == kEd25519) {
    update.mutable_pub_key()->set_ed25519(change.pub_key);
  } else if (change.key_type == kSecp256k1) {
    update.mutable_pub_key()->set_secp256k1(change.pub_key);
  } else {
    return Invalid(
        "the validator's type of key is neither ed25519 nor "
        "secp256k1");
  }
  update.set_power(change.power);
  return update;
}

absl::Status ValidatorSet::Apply(const abci::ValidatorUpdate& update) {
  TANDEM_RETURN_IF_ERROR(CheckKey(update.pub_key(), key_types_));
  const std::string& key = RawKey(update.pub_key());
  const auto member = members_.find(key);
  const bool is_member = member != members_.end();
  const std::int64_t others =
      total_power_ - (is_member ? member->second.power() : 0);
  if (update.power() < 0) return Invalid("the validator's power is negative");
  if (update.power() == 0 && !is_member) {
    return Invalid("the validator to remove is not one");
  }
  if (update.power() == 0 && members_.size() == 1) {
    return Invalid("the last validator stays");
  }
  if (update.power() > kMaxTotalPower - others) {
    return Invalid(absl::StrCat("all validators together have at most ",
                                kMaxTotalPower, " power"));
  }
  if (update.power() == 0) {
    members_.erase(member);
  } else {
    members_[key] = update;
  }
  total_power_ = others + update.power();
  return absl::OkStatus();
}

const abci::ValidatorUpdate* ValidatorSet::FindByAddress(
    std::string_view address) const {
  for (const auto& [key, validator] : members_) {
    if (AddressOf(validator.pub_key()) == address) return &validator;
  }
  return nullptr;
}

std::vector<abci::ValidatorUpdate> ValidatorSet::ChangesSince(
    const ValidatorSet& before) const {
  std::vector<abci::ValidatorUpdate> changes;
  for (const auto& [key, validator] : members_) {
    const auto old = before.members_.find(key);
    if (old == before.members_.end() ||
        old->second.power() != validator.power()) {
      changes.push_back(validator);
    }
  }
  for (const auto& [key, validator] : before.members_) {
    if (members_.contains(key)) continue;
    changes.push_back(validator);
    changes.back().set_power(0);
  }
  return changes;
}

}  // namespace tandem::app

#include "node/validator_set.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "node/merkle.h"
#include "node/validator_key.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {
namespace {

using tendermint::abci::ValidatorUpdate;
using tendermint::types::SimpleValidator;

constexpr std::int64_t kMaxTotalPower = INT64_MAX / 8;  // as CometBFT
constexpr std::size_t kKeyBytes = 32;

using ByAddress = std::map<std::string, SimpleValidator>;

absl::Status Check(const ValidatorUpdate& update) {
  if (update.power() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a validator's power is ", update.power()));
  }
  if (!update.pub_key().has_ed25519()) {
    return absl::InvalidArgumentError(
        "a validator's key is not Ed25519, the only type supported");
  }
  if (update.pub_key().ed25519().size() != kKeyBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a validator's key has ",
                     update.pub_key().ed25519().size(), " bytes, not 32"));
  }
  return absl::OkStatus();
}

absl::Status Apply(const ValidatorUpdate& update, ByAddress& members) {
  const std::string address = ValidatorAddress(update.pub_key().ed25519());
  if (update.power() == 0) {
    if (members.erase(address) > 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("validator ", absl::BytesToHexString(address),
                     " is removed, but is not in the set"));
  }
  SimpleValidator& member = members[address];
  *member.mutable_pub_key() = update.pub_key();
  member.set_voting_power(update.power());
  return absl::OkStatus();
}

absl::Status CheckTotal(const ByAddress& members) {
  if (members.empty()) {
    return absl::InvalidArgumentError("no validator would be left");
  }
  std::int64_t total = 0;
  for (const auto& [address, member] : members) {
    if (member.voting_power() > kMaxTotalPower - total) {
      return absl::InvalidArgumentError(
          absl::StrCat("the validators' total power exceeds ", kMaxTotalPower));
    }
    total += member.voting_power();
  }
  return absl::OkStatus();
}

ValidatorSet InOrder(ByAddress members) {
  std::vector<SimpleValidator> sorted;  // by address
  sorted.reserve(members.size());
  for (auto& [address, member] : members) sorted.push_back(std::move(member));
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const SimpleValidator& a, const SimpleValidator& b) {
                     return a.voting_power() > b.voting_power();
                   });
  ValidatorSet set;
  for (SimpleValidator& member : sorted) set.Add(std::move(member));
  return set;
}

}  // namespace

std::string AddressOf(const SimpleValidator& validator) {
  return ValidatorAddress(validator.pub_key().ed25519());
}

bool HasValidator(const ValidatorSet& set, std::string_view address) {
  return std::any_of(set.begin(), set.end(), [&](const auto& member) {
    return AddressOf(member) == address;
  });
}

std::string HashOf(const ValidatorSet& set) {
  std::vector<std::string> leaves;
  for (const auto& member : set) leaves.push_back(member.SerializeAsString());
  return MerkleRoot(leaves);
}

absl::StatusOr<ValidatorSet> ApplyUpdates(const ValidatorSet& set,
                                          const ValidatorUpdates& updates) {
  if (updates.empty()) return set;
  ByAddress members;
  for (const auto& member : set) members[AddressOf(member)] = member;
  std::map<std::string_view, int> seen;
  for (const ValidatorUpdate& update : updates) {
    TANDEM_RETURN_IF_ERROR(Check(update));
    if (++seen[update.pub_key().ed25519()] > 1) {
      return absl::InvalidArgumentError("a validator is updated twice");
    }
    TANDEM_RETURN_IF_ERROR(Apply(update, members));
  }
  TANDEM_RETURN_IF_ERROR(CheckTotal(members));
  return InOrder(std::move(members));
}

}  // namespace tandem::node

#include "node/consensus_params.h"

#include "absl/strings/str_cat.h"
#include "rpc/base/sha256.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {
namespace {

using tendermint::types::ConsensusParams;

// CometBFT's constants.
constexpr std::int64_t kMaxBlockBytes = 100 << 20;
constexpr std::int64_t kBlockOverhead = 11;
constexpr std::int64_t kHeaderBytes = 626;
constexpr std::int64_t kCommitOverhead = 94;
constexpr std::int64_t kVoteBytes = 109 + 2;

absl::Status Bad(std::string_view what, std::int64_t value) {
  return absl::InvalidArgumentError(
      absl::StrCat("consensus parameter ", std::string(what), " is ", value));
}

std::int64_t BlockLimit(const ConsensusParams& params) {
  const std::int64_t limit = params.block().max_bytes();
  return limit == -1 ? kMaxBlockBytes : limit;
}

absl::Status CheckBlock(const ConsensusParams& params) {
  const std::int64_t max_bytes = params.block().max_bytes();
  if (max_bytes == 0 || max_bytes < -1 || max_bytes > kMaxBlockBytes) {
    return Bad("block.max_bytes", max_bytes);
  }
  if (params.block().max_gas() < -1) {
    return Bad("block.max_gas", params.block().max_gas());
  }
  return absl::OkStatus();
}

absl::Status CheckEvidence(const ConsensusParams& params) {
  const auto& evidence = params.evidence();
  if (evidence.max_age_num_blocks() <= 0) {
    return Bad("evidence.max_age_num_blocks", evidence.max_age_num_blocks());
  }
  const auto& age = evidence.max_age_duration();
  if (age.seconds() < 0 || age.nanos() < 0 ||
      (age.seconds() == 0 && age.nanos() == 0)) {
    return Bad("evidence.max_age_duration (seconds)", age.seconds());
  }
  if (evidence.max_bytes() < 0 || evidence.max_bytes() > BlockLimit(params)) {
    return Bad("evidence.max_bytes", evidence.max_bytes());
  }
  return absl::OkStatus();
}

absl::Status CheckKeyTypes(const ConsensusParams& params) {
  if (params.validator().pub_key_types().empty()) {
    return absl::InvalidArgumentError(
        "consensus parameter validator.pub_key_types is empty");
  }
  for (const auto& type : params.validator().pub_key_types()) {
    if (type == "ed25519") continue;
    return absl::InvalidArgumentError(
        absl::StrCat("consensus parameter validator.pub_key_types holds \"",
                     type, "\"; \"ed25519\" is the only type supported"));
  }
  return absl::OkStatus();
}

}  // namespace

ConsensusParams DefaultConsensusParams() {
  ConsensusParams params;
  params.mutable_block()->set_max_bytes(21 << 20);
  params.mutable_block()->set_max_gas(-1);
  auto* evidence = params.mutable_evidence();
  evidence->set_max_age_num_blocks(100'000);
  evidence->mutable_max_age_duration()->set_seconds(48 * 60 * 60);
  evidence->set_max_bytes(1 << 20);
  params.mutable_validator()->add_pub_key_types("ed25519");
  params.mutable_version();
  params.mutable_abci();
  return params;
}

absl::Status CheckConsensusParams(const ConsensusParams& params) {
  TANDEM_RETURN_IF_ERROR(CheckBlock(params));
  TANDEM_RETURN_IF_ERROR(CheckEvidence(params));
  TANDEM_RETURN_IF_ERROR(CheckKeyTypes(params));
  if (params.abci().vote_extensions_enable_height() != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "consensus parameter abci.vote_extensions_enable_height is ",
        params.abci().vote_extensions_enable_height(),
        "; this node makes no vote extensions: it has to be 0"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ConsensusParams> UpdateConsensusParams(
    const ConsensusParams& params, const ConsensusParams& updates) {
  ConsensusParams updated = params;
  if (updates.has_block()) *updated.mutable_block() = updates.block();
  if (updates.has_evidence()) *updated.mutable_evidence() = updates.evidence();
  if (updates.has_validator()) {
    *updated.mutable_validator() = updates.validator();
  }
  if (updates.has_version()) *updated.mutable_version() = updates.version();
  if (updates.has_abci()) *updated.mutable_abci() = updates.abci();
  if (updates.has_authority()) {
    *updated.mutable_authority() = updates.authority();
  }
  TANDEM_RETURN_IF_ERROR(CheckConsensusParams(updated));
  return updated;
}

std::string HashOf(const ConsensusParams& params) {
  // CometBFT's HashedParams has the fields of BlockParams, and no other.
  return rpc::Sha256(params.block().SerializeAsString());
}

std::int64_t MaxTransactionBytes(const ConsensusParams& params,
                                 int validators) {
  return BlockLimit(params) - kBlockOverhead - kHeaderBytes - kCommitOverhead -
         kVoteBytes * validators;
}

}  // namespace tandem::node

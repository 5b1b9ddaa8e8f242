#include "node/genesis.h"

#include <openssl/rand.h>

#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/protobuf/util/time_util.h"
#include "nlohmann/json.hpp"
#include "node/consensus_params.h"
#include "node/validator_key.h"
#include "rpc/base/sha256.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {
namespace {

using google::protobuf::util::TimeUtil;
using nlohmann::json;
using tendermint::types::ConsensusParams;

constexpr char kKeyType[] = "tendermint/PubKeyEd25519";
constexpr std::size_t kMaxChainIdBytes = 50;  // as CometBFT

absl::Status Bad(std::string_view member, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("genesis: ", std::string(member), " ", std::string(why)));
}

// A member of an object; null when it is absent or JSON's null.
const json* Find(const json& object, const char* member) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(member);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// Reads `member` of `object` into `into`, which keeps its value when the member
// is absent. CometBFT writes 64-bit numbers as strings.
absl::Status Read(const json& object, const char* member, std::int64_t& into) {
  const json* value = Find(object, member);
  if (value == nullptr) return absl::OkStatus();
  if (value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX) {
    return Bad(member, "is out of range");
  }
  if (value->is_number_integer()) {
    into = value->get<std::int64_t>();
    return absl::OkStatus();
  }
  if (value->is_string() &&
      absl::SimpleAtoi(value->get_ref<const std::string&>(), &into)) {
    return absl::OkStatus();
  }
  return Bad(member, "is not a whole number");
}

absl::Status Read(const json& object, const char* member, std::string& into) {
  const json* value = Find(object, member);
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_string()) return Bad(member, "is not a string");
  into = value->get<std::string>();
  return absl::OkStatus();
}

absl::Status ReadBlock(const json& from, ConsensusParams& params) {
  const json* block = Find(from, "block");
  if (block == nullptr) return absl::OkStatus();
  std::int64_t max_bytes = params.block().max_bytes();
  std::int64_t max_gas = params.block().max_gas();
  TANDEM_RETURN_IF_ERROR(Read(*block, "max_bytes", max_bytes));
  TANDEM_RETURN_IF_ERROR(Read(*block, "max_gas", max_gas));
  params.mutable_block()->set_max_bytes(max_bytes);
  params.mutable_block()->set_max_gas(max_gas);
  return absl::OkStatus();
}

absl::Status ReadEvidence(const json& from, ConsensusParams& params) {
  const json* evidence = Find(from, "evidence");
  if (evidence == nullptr) return absl::OkStatus();
  auto& into = *params.mutable_evidence();
  std::int64_t blocks = into.max_age_num_blocks();
  std::int64_t nanos = TimeUtil::DurationToNanoseconds(into.max_age_duration());
  std::int64_t max_bytes = into.max_bytes();
  TANDEM_RETURN_IF_ERROR(Read(*evidence, "max_age_num_blocks", blocks));
  TANDEM_RETURN_IF_ERROR(Read(*evidence, "max_age_duration", nanos));
  TANDEM_RETURN_IF_ERROR(Read(*evidence, "max_bytes", max_bytes));
  into.set_max_age_num_blocks(blocks);
  *into.mutable_max_age_duration() = TimeUtil::NanosecondsToDuration(nanos);
  into.set_max_bytes(max_bytes);
  return absl::OkStatus();
}

absl::Status ReadKeyTypes(const json& from, ConsensusParams& params) {
  const json* validator = Find(from, "validator");
  const json* types =
      validator == nullptr ? nullptr : Find(*validator, "pub_key_types");
  if (types == nullptr) return absl::OkStatus();
  if (!types->is_array()) return Bad("pub_key_types", "is not a list");
  params.mutable_validator()->clear_pub_key_types();
  for (const json& type : *types) {
    if (!type.is_string()) return Bad("pub_key_types", "holds no strings");
    params.mutable_validator()->add_pub_key_types(type.get<std::string>());
  }
  return absl::OkStatus();
}

absl::Status ReadVersions(const json& from, ConsensusParams& params) {
  if (const json* version = Find(from, "version")) {
    std::int64_t app = 0;
    TANDEM_RETURN_IF_ERROR(Read(*version, "app", app));
    params.mutable_version()->set_app(app);
  }
  if (const json* abci = Find(from, "abci")) {
    std::int64_t height = 0;
    TANDEM_RETURN_IF_ERROR(
        Read(*abci, "vote_extensions_enable_height", height));
    params.mutable_abci()->set_vote_extensions_enable_height(height);
  }
  if (const json* authority = Find(from, "authority")) {
    std::string name;
    TANDEM_RETURN_IF_ERROR(Read(*authority, "authority", name));
    params.mutable_authority()->set_authority(name);
  }
  return absl::OkStatus();
}

absl::StatusOr<ConsensusParams> ReadParams(const json* from) {
  ConsensusParams params = DefaultConsensusParams();
  if (from == nullptr) return params;
  if (!from->is_object()) return Bad("consensus_params", "is not an object");
  TANDEM_RETURN_IF_ERROR(ReadBlock(*from, params));
  TANDEM_RETURN_IF_ERROR(ReadEvidence(*from, params));
  TANDEM_RETURN_IF_ERROR(ReadKeyTypes(*from, params));
  TANDEM_RETURN_IF_ERROR(ReadVersions(*from, params));
  if (absl::Status status = CheckConsensusParams(params); !status.ok()) {
    return Bad("consensus_params:", std::string(status.message()));
  }
  return params;
}

absl::Status ReadValidator(const json& from,
                           tendermint::abci::ValidatorUpdate& into) {
  const json* key = Find(from, "pub_key");
  if (key == nullptr) return Bad("validators", "holds one without pub_key");
  std::string type;
  std::string base64;
  std::string bytes;
  std::int64_t power = 0;
  TANDEM_RETURN_IF_ERROR(Read(*key, "type", type));
  TANDEM_RETURN_IF_ERROR(Read(*key, "value", base64));
  TANDEM_RETURN_IF_ERROR(Read(from, "power", power));
  if (type != kKeyType) {
    return Bad("validators",
               absl::StrCat("holds a key of type \"", type, "\", only ",
                            kKeyType, " is supported"));
  }
  if (!absl::Base64Unescape(base64, &bytes)) {
    return Bad("validators", "holds a key that is not base64");
  }
  if (power <= 0) return Bad("validators", "holds one without power");
  into.mutable_pub_key()->set_ed25519(bytes);
  into.set_power(power);
  return absl::OkStatus();
}

absl::StatusOr<ValidatorUpdates> ReadValidators(const json* from) {
  ValidatorUpdates validators;
  if (from == nullptr) return validators;
  if (!from->is_array()) return Bad("validators", "is not a list");
  for (const json& validator : *from) {
    TANDEM_RETURN_IF_ERROR(ReadValidator(validator, *validators.Add()));
  }
  // The rules of a set.
  absl::StatusOr<ValidatorSet> set = ApplyUpdates({}, validators);
  if (!set.ok()) return Bad("validators:", std::string(set.status().message()));
  return validators;
}

// Where the JSON string that begins at `at` ends. `text` is valid JSON, here
// and below.
std::size_t EndOfString(std::string_view text, std::size_t at) {
  for (++at; text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1;
}

// Where the JSON value that begins at `at` ends.
std::size_t EndOfValue(std::string_view text, std::size_t at) {
  if (text[at] == '"') return EndOfString(text, at);
  if (text[at] != '{' && text[at] != '[') {
    return text.find_first_of(",}] \n\t\r", at);
  }
  int depth = 0;
  do {
    const char c = text[at];
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    at = c == '"' ? EndOfString(text, at) : at + 1;
  } while (depth > 0);
  return at;
}

std::size_t SkipSpace(std::string_view text, std::size_t at) {
  const std::size_t next = text.find_first_not_of(" \n\t\r", at);
  return next == std::string_view::npos ? text.size() : next;
}

// The value of a member of the object `text`, as it is written there. JSON
// libraries do not keep the text, and the application is owed exactly it.
std::string_view RawMember(std::string_view text, std::string_view member) {
  const std::string quoted = absl::StrCat("\"", std::string(member), "\"");
  std::string_view found;
  std::size_t at = SkipSpace(text, SkipSpace(text, 0) + 1);
  while (at < text.size() && text[at] == '"') {
    const std::size_t name_end = EndOfValue(text, at);
    const std::string_view name = text.substr(at, name_end - at);
    at = SkipSpace(text, SkipSpace(text, name_end) + 1);  // over the colon
    const std::size_t end = EndOfValue(text, at);
    if (name == quoted) found = text.substr(at, end - at);
    at = SkipSpace(text, SkipSpace(text, end) + 1);  // over the comma
  }
  return found;
}

absl::Status ReadHead(const json& from, Genesis& genesis) {
  TANDEM_RETURN_IF_ERROR(Read(from, "chain_id", genesis.chain_id));
  if (genesis.chain_id.empty()) return Bad("chain_id", "is missing");
  if (genesis.chain_id.size() > kMaxChainIdBytes) {
    return Bad("chain_id", "is longer than 50 bytes");
  }
  TANDEM_RETURN_IF_ERROR(Read(from, "initial_height", genesis.initial_height));
  if (genesis.initial_height == 0) genesis.initial_height = 1;
  if (genesis.initial_height < 0) return Bad("initial_height", "is negative");
  std::string time;
  TANDEM_RETURN_IF_ERROR(Read(from, "genesis_time", time));
  if (!TimeUtil::FromString(time, &genesis.time)) {
    return Bad("genesis_time", "is no time like 2026-01-31T12:00:00Z");
  }
  std::string app_hash;
  TANDEM_RETURN_IF_ERROR(Read(from, "app_hash", app_hash));
  genesis.app_hash = absl::HexStringToBytes(app_hash);
  return absl::OkStatus();
}

// All but app_state, which may be large.
std::optional<json> ParseHead(std::string_view text) {
  // A byte order mark, which the library skips, is none of JSON's.
  const std::size_t start = SkipSpace(text, 0);
  if (start == text.size() || text[start] != '{') return std::nullopt;
  const auto skip_app_state = [](int depth, json::parse_event_t event,
                                 json& parsed) {
    return depth != 1 || event != json::parse_event_t::key ||
           parsed != "app_state";
  };
  json head = json::parse(text, skip_app_state, /*allow_exceptions=*/false);
  if (!head.is_object()) return std::nullopt;
  return head;
}

}  // namespace

absl::StatusOr<Genesis> ParseGenesis(std::string_view text) {
  const std::optional<json> head = ParseHead(text);
  if (!head.has_value()) {
    return absl::InvalidArgumentError("genesis: the file is not a JSON object");
  }
  Genesis genesis;
  TANDEM_RETURN_IF_ERROR(ReadHead(*head, genesis));
  const json* consensus = Find(*head, "consensus");
  const json* params = consensus == nullptr ? Find(*head, "consensus_params")
                                            : Find(*consensus, "params");
  const json* validators = consensus == nullptr
                               ? Find(*head, "validators")
                               : Find(*consensus, "validators");
  TANDEM_ASSIGN_OR_RETURN(genesis.params, ReadParams(params));
  TANDEM_ASSIGN_OR_RETURN(genesis.validators, ReadValidators(validators));
  genesis.app_state = std::string(RawMember(text, "app_state"));
  genesis.hash = rpc::Sha256(text);
  return genesis;
}

std::string NewGenesis(std::string_view public_key) {
  unsigned char random[4] = {};
  RAND_bytes(random, sizeof(random));
  const std::string suffix = absl::BytesToHexString(
      std::string(reinterpret_cast<const char*>(random), sizeof(random)));
  const nlohmann::ordered_json genesis = {
      {"genesis_time", absl::FormatTime(absl::Now(), absl::UTCTimeZone())},
      {"chain_id", "tandem-" + suffix},
      {"initial_height", "1"},
      {"validators",
       {{{"address", absl::AsciiStrToUpper(
                         absl::BytesToHexString(ValidatorAddress(public_key)))},
         {"pub_key",
          {{"type", kKeyType},
           {"value", absl::Base64Escape(std::string(public_key))}}},
         {"power", "10"},
         {"name", ""}}}},
      {"app_hash", ""},
      {"app_state", nlohmann::ordered_json::object()}};
  return genesis.dump(2) + "\n";
}

}  // namespace tandem::node

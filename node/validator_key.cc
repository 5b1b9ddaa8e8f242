#include "node/validator_key.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <cstddef>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "rpc/base/fail_point.h"
#include "rpc/base/file.h"
#include "rpc/base/sha256.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {
namespace {

constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kSignatureBytes = 64;
constexpr char kPublicType[] = "tendermint/PubKeyEd25519";
constexpr char kPrivateType[] = "tendermint/PrivKeyEd25519";

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

unsigned char* Bytes(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

absl::Status NotAKey(const std::string& path, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, " is no validator key of CometBFT's form ",
                   "(priv_validator_key.json): ", std::string(why)));
}

// The text of a member; empty when there is none.
std::string TextOf(const nlohmann::json& json, const char* member) {
  const auto found = json.find(member);
  if (found == json.end() || !found->is_string()) return "";
  return found->get<std::string>();
}

// {"type": type, "value": base64}
absl::StatusOr<std::string> Decode(const nlohmann::json& json,
                                   const char* member, const char* type) {
  const auto key = json.find(member);
  if (key == json.end() || !key->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("it has no ", member));
  }
  if (const auto found = TextOf(*key, "type"); found != type) {
    return absl::InvalidArgumentError(absl::StrCat(
        member, " is of type \"", found, "\", only ", type, " is supported"));
  }
  std::string bytes;
  if (!absl::Base64Unescape(TextOf(*key, "value"), &bytes)) {
    return absl::InvalidArgumentError(absl::StrCat(member, " is not base64"));
  }
  return bytes;
}

// The 64 bytes of a private key: the seed, then the public key.
absl::StatusOr<std::string> ParsePrivateKey(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return absl::InvalidArgumentError("it is not JSON");
  TANDEM_ASSIGN_OR_RETURN(std::string pair,
                          Decode(json, "priv_key", kPrivateType));
  if (pair.size() != 2 * kKeyBytes) {
    return absl::InvalidArgumentError("priv_key does not have 64 bytes");
  }
  TANDEM_ASSIGN_OR_RETURN(std::string pub_key,
                          Decode(json, "pub_key", kPublicType));
  if (pair.substr(kKeyBytes) != pub_key) {
    return absl::InvalidArgumentError("pub_key does not belong to priv_key");
  }
  return pair;
}

std::string ToJson(const ValidatorKey& key, std::string_view seed) {
  const std::string pair = std::string(seed) + key.public_key();
  const nlohmann::ordered_json json = {
      {"address", absl::AsciiStrToUpper(absl::BytesToHexString(key.address()))},
      {"pub_key",
       {{"type", kPublicType},
        {"value", absl::Base64Escape(key.public_key())}}},
      {"priv_key",
       {{"type", kPrivateType}, {"value", absl::Base64Escape(pair)}}}};
  return json.dump(2) + "\n";
}

}  // namespace

std::string ValidatorAddress(std::string_view public_key) {
  return rpc::Sha256(public_key).substr(0, 20);
}

ValidatorKey::ValidatorKey(std::shared_ptr<EVP_PKEY> key)
    : key_(std::move(key)), public_key_(kKeyBytes, '\0') {
  std::size_t size = public_key_.size();
  EVP_PKEY_get_raw_public_key(key_.get(), Bytes(public_key_), &size);
  address_ = ValidatorAddress(public_key_);
}

absl::StatusOr<ValidatorKey> ValidatorKey::FromSeed(std::string_view seed) {
  std::shared_ptr<EVP_PKEY> key(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, Bytes(seed),
                                   seed.size()),
      &EVP_PKEY_free);
  if (!key) return absl::InternalError("OpenSSL refuses the Ed25519 key");
  return ValidatorKey(std::move(key));
}

absl::StatusOr<ValidatorKey> ValidatorKey::Load(const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(std::string text, rpc::ReadFile(path));
  absl::StatusOr<std::string> pair = ParsePrivateKey(text);
  if (!pair.ok()) {
    return NotAKey(path, std::string(pair.status().message()));
  }
  TANDEM_ASSIGN_OR_RETURN(ValidatorKey key,
                          FromSeed(std::string_view(*pair).substr(0, 32)));
  if (key.public_key() != pair->substr(kKeyBytes)) {
    return NotAKey(path, "the halves of priv_key do not belong together");
  }
  return key;
}

absl::StatusOr<ValidatorKey> ValidatorKey::LoadOrCreate(
    const std::string& path) {
  absl::StatusOr<ValidatorKey> found = Load(path);
  if (!absl::IsNotFound(found.status())) return found;
  std::string seed(kKeyBytes, '\0');
  if (RAND_bytes(Bytes(seed), kKeyBytes) != 1) {
    return absl::InternalError("OpenSSL has no randomness for a key");
  }
  TANDEM_ASSIGN_OR_RETURN(ValidatorKey key, FromSeed(seed));
  TANDEM_RETURN_IF_ERROR(rpc::WriteFile(path, ToJson(key, seed), 0600));
  rpc::FailPoint("node/key-saved");
  return key;
}

std::string ValidatorKey::Sign(std::string_view message) const {
  std::string signature(kSignatureBytes, '\0');
  std::size_t size = signature.size();
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(
      EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get());
  EVP_DigestSign(context.get(), Bytes(signature), &size, Bytes(message),
                 message.size());
  return signature;
}

}  // namespace tandem::node

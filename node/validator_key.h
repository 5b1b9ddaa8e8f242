// The key that this node makes blocks with.

#ifndef TANDEM_NODE_VALIDATOR_KEY_H_
#define TANDEM_NODE_VALIDATOR_KEY_H_

#include <openssl/types.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tandem::node {

// The first 20 bytes of the SHA-256 of an Ed25519 public key.
std::string ValidatorAddress(std::string_view public_key);

// An Ed25519 key pair, in a file of CometBFT's form (priv_validator_key.json).
//
// Thread safety: immutable.
class ValidatorKey {
 public:
  // Reads `path`. Errors: kNotFound; kInvalidArgument when it is no such file,
  // when the key is not Ed25519, or when its parts do not belong together.
  static absl::StatusOr<ValidatorKey> Load(const std::string& path);

  // Reads `path`, or makes a key and saves it there with mode 0600.
  static absl::StatusOr<ValidatorKey> LoadOrCreate(const std::string& path);

  // 20 bytes.
  const std::string& address() const { return address_; }
  // 32 bytes.
  const std::string& public_key() const { return public_key_; }

  // 64 bytes; the same for the same `message`.
  std::string Sign(std::string_view message) const;

 private:
  explicit ValidatorKey(std::shared_ptr<EVP_PKEY> key);
  static absl::StatusOr<ValidatorKey> FromSeed(std::string_view seed);

  std::shared_ptr<EVP_PKEY> key_;  // shared by copies of this object
  std::string public_key_;
  std::string address_;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_VALIDATOR_KEY_H_

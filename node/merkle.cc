#include "node/merkle.h"

#include <openssl/sha.h>

#include <bit>
#include <cstddef>

namespace tandem::node {

std::string Sha256(std::string_view data) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(data.data()), data.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

std::string MerkleRoot(std::span<const std::string> leaves) {
  if (leaves.empty()) return Sha256("");
  if (leaves.size() == 1) return Sha256(std::string(1, '\0') + leaves[0]);
  const std::size_t left = std::bit_floor(leaves.size() - 1);
  return Sha256('\1' + MerkleRoot(leaves.first(left)) +
                MerkleRoot(leaves.subspan(left)));
}

}  // namespace tandem::node

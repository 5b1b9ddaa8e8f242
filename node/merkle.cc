#include "node/merkle.h"

#include <bit>
#include <cstddef>

#include "rpc/base/sha256.h"

namespace tandem::node {

std::string MerkleRoot(std::span<const std::string> leaves) {
  if (leaves.empty()) return rpc::Sha256("");
  if (leaves.size() == 1) return rpc::Sha256(std::string(1, '\0') + leaves[0]);
  const std::size_t left = std::bit_floor(leaves.size() - 1);
  return rpc::Sha256('\1' + MerkleRoot(leaves.first(left)) +
                     MerkleRoot(leaves.subspan(left)));
}

}  // namespace tandem::node

// The Merkle tree of RFC 6962, as CometBFT builds it.

#ifndef TANDEM_NODE_MERKLE_H_
#define TANDEM_NODE_MERKLE_H_

#include <span>
#include <string>

namespace tandem::node {

// The 32-byte root over `leaves`, in their order: a leaf counts as
// SHA-256(0x00 leaf), two subtrees as SHA-256(0x01 left right) with the largest
// power of two of leaves on the left, no leaf at all as SHA-256("").
std::string MerkleRoot(std::span<const std::string> leaves);

}  // namespace tandem::node

#endif  // TANDEM_NODE_MERKLE_H_

#include "node/cli/transaction_hash.h"

#include <openssl/sha.h>

namespace tandem::node {

std::string HashOfTransaction(std::string_view tx) {
  std::string hash(SHA256_DIGEST_LENGTH, '\0');
  ::SHA256(reinterpret_cast<const unsigned char*>(tx.data()), tx.size(),
           reinterpret_cast<unsigned char*>(hash.data()));
  return hash;
}

}  // namespace tandem::node

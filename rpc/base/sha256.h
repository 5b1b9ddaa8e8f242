// SHA-256.

#ifndef TANDEM_RPC_BASE_SHA256_H_
#define TANDEM_RPC_BASE_SHA256_H_

#include <string>
#include <string_view>

namespace tandem::rpc {

// The 32 bytes of the digest.
std::string Sha256(std::string_view data);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_BASE_SHA256_H_

// How transactions are named.

#ifndef TANDEM_NODE_CLI_TRANSACTION_HASH_H_
#define TANDEM_NODE_CLI_TRANSACTION_HASH_H_

#include <string>
#include <string_view>

namespace tandem::node {

// 32 bytes.
std::string HashOfTransaction(std::string_view tx);

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_TRANSACTION_HASH_H_

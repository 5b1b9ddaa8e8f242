// Bytes in messages.

#ifndef TANDEM_RPC_BASE_HEX_H_
#define TANDEM_RPC_BASE_HEX_H_

#include <string>
#include <string_view>

namespace tandem::rpc {

// Lower-case digits, two a byte; "(none)" for no bytes.
std::string HexOrNone(std::string_view bytes);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_BASE_HEX_H_

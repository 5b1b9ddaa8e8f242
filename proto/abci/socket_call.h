// Which member of which oneof is which call, on the ABCI socket protocol.

#ifndef TANDEM_PROTO_ABCI_SOCKET_CALL_H_
#define TANDEM_PROTO_ABCI_SOCKET_CALL_H_

#include <cstdint>
#include <span>

#include "rpc/wire/method.h"

// Functions here are thread-safe.
namespace tandem::abci {

// One method of the app contract, as the protocol names it.
struct SocketCall {
  const rpc::Method* method = nullptr;
  std::uint32_t request_member = 0;   // of tendermint.abci.Request
  std::uint32_t response_member = 0;  // of tendermint.abci.Response
};

// The member of a Response that says what went wrong, before the application
// closes the connection.
inline constexpr std::uint32_t kExceptionMember = 1;

// All of them, as the service ABCI has them in its table.
std::span<const SocketCall> SocketCalls();

// Null where a Request has no such member.
const SocketCall* SocketCallOf(std::uint32_t request_member);

// Of a method of the service ABCI, whichever program's table it is of; null
// for others.
const SocketCall* SocketCallOf(const rpc::Method& method);

// The protocol's Flush.
const SocketCall& FlushCall();

}  // namespace tandem::abci

#endif  // TANDEM_PROTO_ABCI_SOCKET_CALL_H_

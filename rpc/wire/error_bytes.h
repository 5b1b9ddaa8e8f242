// An error as it travels: a google.rpc.Status.

#ifndef TANDEM_RPC_WIRE_ERROR_BYTES_H_
#define TANDEM_RPC_WIRE_ERROR_BYTES_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"

// Its details are the payloads of an absl::Status, by type URL.
//
// Functions here are thread-safe.
namespace tandem::rpc {

// The message is cut after `max_message`, and where it is no UTF-8, '?' is
// written. Payloads that would make it more than `max_bytes` are left out.
std::string ErrorBytes(const absl::Status& error, std::size_t max_message,
                       std::size_t max_bytes);

// False when `bytes` are no google.rpc.Status. A code that is none is kUnknown.
bool ParseErrorBytes(std::string_view bytes, absl::Status* into);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_ERROR_BYTES_H_

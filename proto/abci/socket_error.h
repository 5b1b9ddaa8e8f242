// Errors on the ABCI socket protocol, which knows but a text.

#ifndef TANDEM_PROTO_ABCI_SOCKET_ERROR_H_
#define TANDEM_PROTO_ABCI_SOCKET_ERROR_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

// Functions here are thread-safe.
namespace tandem::abci {

// The text of the Exception that says `error`: "ABORTED: as you wish".
std::string ExceptionText(const absl::Status& error);

// What an Exception says: the error that ExceptionText() made it from, so that
// between programs of ours a call ends as it does over gRPC; else
// kFailedPrecondition, with the text.
absl::Status ErrorOf(std::string_view exception_text);

}  // namespace tandem::abci

#endif  // TANDEM_PROTO_ABCI_SOCKET_ERROR_H_

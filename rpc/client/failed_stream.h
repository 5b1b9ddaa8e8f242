// The stream of a call that could not begin.

#ifndef TANDEM_RPC_CLIENT_FAILED_STREAM_H_
#define TANDEM_RPC_CLIENT_FAILED_STREAM_H_

#include <memory>

#include "absl/status/status.h"
#include "rpc/client/transport.h"

namespace tandem::rpc {

// For transports: a stream that is over and ended with `status`, not OK.
std::shared_ptr<ClientStream> FailedStream(absl::Status status);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_FAILED_STREAM_H_

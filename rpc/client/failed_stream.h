// How a call ends that could not begin.

#ifndef TANDEM_RPC_CLIENT_FAILED_STREAM_H_
#define TANDEM_RPC_CLIENT_FAILED_STREAM_H_

#include <memory>

#include "absl/status/status.h"
#include "rpc/client/transport.h"
#include "rpc/wire/method.h"

namespace tandem::rpc {

// For transports: what a call of `method` ends with, because of `why`.
absl::Status Named(const Method& method, const absl::Status& why);

// For transports: a stream that is over and ended with `status`, not OK.
std::shared_ptr<ClientStream> FailedStream(absl::Status status);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_FAILED_STREAM_H_

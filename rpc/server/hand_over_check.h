// Whether the gRPC library that we run with keeps what we rely on.

#ifndef TANDEM_RPC_SERVER_HAND_OVER_CHECK_H_
#define TANDEM_RPC_SERVER_HAND_OVER_CHECK_H_

#include "absl/status/status.h"

namespace tandem::rpc {

// A server knows a caller by the number of its descriptor (ConnectionTable).
// That is sound only if gRPC, given descriptor N, calls the peer "fd:N", and
// keeps N open while a call of that connection runs, be its client long gone:
// else N is another client's, and calls are attributed to the wrong user.
// Releases of gRPC differ in this, so it is tried out: over a socket pair, with
// one call whose client leaves while its handler runs. Takes some milliseconds.
//
// Errors: kInternal, with what this gRPC does instead.
absl::Status CheckHandOver();

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_HAND_OVER_CHECK_H_

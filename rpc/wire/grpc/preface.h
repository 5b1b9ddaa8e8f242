// What every HTTP/2 client begins with, and so every gRPC client.

#ifndef TANDEM_RPC_WIRE_GRPC_PREFACE_H_
#define TANDEM_RPC_WIRE_GRPC_PREFACE_H_

#include <string_view>

#include "rpc/wire/verdict.h"

namespace tandem::rpc {

// RFC 9113, 3.4.
inline constexpr std::string_view kGrpcPreface =
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// kMine once all of it is there: gRPC enforces no limit on the time that it
// takes for a descriptor that it is given.
inline Verdict JudgePreface(std::string_view seen) {
  if (seen.starts_with(kGrpcPreface)) return Verdict::kMine;
  return kGrpcPreface.starts_with(seen) ? Verdict::kNeedMore
                                        : Verdict::kNotMine;
}

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_PREFACE_H_

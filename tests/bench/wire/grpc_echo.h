// gRPC as it comes: its own listener and channel, its generated classes.

#ifndef TANDEM_TESTS_BENCH_WIRE_GRPC_ECHO_H_
#define TANDEM_TESTS_BENCH_WIRE_GRPC_ECHO_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/bench/wire/caller.h"

namespace tandem::bench {

// With the callback API, until the process is told to end.
absl::Status ServeGrpc(const std::string& address);

// One in flight blocks, more have callbacks.
absl::StatusOr<std::unique_ptr<Caller>> CallGrpc(const std::string& address);

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_GRPC_ECHO_H_

// Plain sockets, for what is measured without a library.

#ifndef TANDEM_TESTS_BENCH_WIRE_ENDPOINT_H_
#define TANDEM_TESTS_BENCH_WIRE_ENDPOINT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "rpc/base/unique_fd.h"

namespace tandem::bench {

// Addresses are "unix:PATH" or "127.0.0.1:PORT". Errors: those of
// absl::ErrnoToStatus.
absl::StatusOr<rpc::UniqueFd> Listen(const std::string& address);
absl::StatusOr<rpc::UniqueFd> Connect(const std::string& address);

// The same, again and again until somebody listens: for a minute at most.
absl::StatusOr<rpc::UniqueFd> ConnectSoon(const std::string& address);

// "127.0.0.1:PORT" that nobody listens at.
absl::StatusOr<std::string> FreeTcpAddress();

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_ENDPOINT_H_

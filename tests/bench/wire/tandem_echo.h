// Tandem's server and clients.

#ifndef TANDEM_TESTS_BENCH_WIRE_TANDEM_ECHO_H_
#define TANDEM_TESTS_BENCH_WIRE_TANDEM_ECHO_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/client/connection_transport.h"
#include "tests/bench/wire/caller.h"

namespace tandem::bench {

// Serves Echo over gRPC and ttrpc until the process is told to end. `spin` as
// in ServerOptions::poll_spin.
absl::Status ServeTandem(const std::string& address, absl::Duration spin);

struct TandemOptions {
  rpc::ClientWire wire = rpc::ClientWire::kTtrpc;
  // Calls a method that runs on the pool, instead of an inline one.
  bool pool = false;
  // Each call in flight blocks a thread. Else one in flight blocks, and more
  // have callbacks.
  bool threads = false;
  // As in ChannelOptions.
  absl::Duration spin = absl::ZeroDuration();
};

absl::StatusOr<std::unique_ptr<Caller>> CallTandem(
    const std::string& address, const TandemOptions& options);

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_TANDEM_ECHO_H_

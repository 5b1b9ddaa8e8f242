// CheckTx over the ABCI socket protocol, as node and application speak it.

#ifndef TANDEM_TESTS_BENCH_WIRE_ABCI_ECHO_H_
#define TANDEM_TESTS_BENCH_WIRE_ABCI_ECHO_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/bench/wire/caller.h"

namespace tandem::bench {

// Serves an application that takes every transaction, until the process is told
// to end.
absl::Status ServeAbci(const std::string& address);

absl::StatusOr<std::unique_ptr<Caller>> CallAbci(const std::string& address);

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_ABCI_ECHO_H_

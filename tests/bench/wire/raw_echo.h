// What sockets, and sockets with protobuf, do without a framework: loops
// written by hand, one thread a side, everything reused. The limits that
// frameworks are compared with.

#ifndef TANDEM_TESTS_BENCH_WIRE_RAW_ECHO_H_
#define TANDEM_TESTS_BENCH_WIRE_RAW_ECHO_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/bench/wire/caller.h"

namespace tandem::bench {

// Serves all of the below until the process is told to end.
absl::Status ServeRaw(const std::string& address);

// Bytes, of a size that both sides know: what the socket does alone.
absl::StatusOr<std::unique_ptr<Caller>> CallBytes(const std::string& address);

// Messages behind their lengths, read and written in batches: the framing
// limit.
absl::StatusOr<std::unique_ptr<Caller>> CallFrames(const std::string& address);

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_RAW_ECHO_H_

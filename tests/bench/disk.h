// How long the disk takes to make something durable.

#ifndef TANDEM_TESTS_BENCH_DISK_H_
#define TANDEM_TESTS_BENCH_DISK_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tandem::bench {

// Appends 4 KiB to a new file under `directory` and calls fdatasync(2), `count`
// times; returns what each took.
absl::StatusOr<std::vector<absl::Duration>> TimeSyncs(
    const std::string& directory, int count);

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_DISK_H_

// Counts the instructions of programs, where a machine has no counters.

#ifndef TANDEM_TESTS_BENCH_CALLGRIND_H_
#define TANDEM_TESTS_BENCH_CALLGRIND_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem::bench {

// What stands before a command that is to be counted, into `file`: user code,
// all threads. On one core, where no lock is waited for by spinning: how long
// it spins is chance.
std::vector<std::string> UnderCallgrind(const std::string& file);

// What was counted, once the program has ended by itself. Errors: kNotFound.
absl::StatusOr<double> InstructionsIn(const std::string& file);

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_CALLGRIND_H_

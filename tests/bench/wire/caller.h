// A client that is measured.

#ifndef TANDEM_TESTS_BENCH_WIRE_CALLER_H_
#define TANDEM_TESTS_BENCH_WIRE_CALLER_H_

#include "absl/status/statusor.h"
#include "tests/bench/wire/cell.h"

namespace tandem::bench {

// Thread safety: thread-compatible.
class Caller {
 public:
  virtual ~Caller() = default;
  // Errors: kUnimplemented where it does no such cells; else of the first call
  // that failed.
  virtual absl::StatusOr<Figures> Run(const Cell& cell) = 0;
};

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_CALLER_H_

// A client that is measured.

#ifndef TANDEM_TESTS_BENCH_WIRE_CALLER_H_
#define TANDEM_TESTS_BENCH_WIRE_CALLER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "tests/bench/wire/cell.h"

namespace tandem::bench {

// Thread safety: thread-compatible.
class Caller {
 public:
  virtual ~Caller() = default;
  // Errors: kUnimplemented where it does no such cells; else of the first call
  // that failed.
  absl::StatusOr<Figures> Run(const Cell& cell);

 protected:
  // Of a push that `begun` (NowNanos()), and is over.
  static Figures PushedSince(std::int64_t begun, const Cell& cell);

 private:
  // False: kUnimplemented, though there is a method for it.
  virtual bool Does(const Cell&) const { return true; }
  // By the cell's kind. What is not overridden is kUnimplemented.
  virtual absl::StatusOr<Figures> RunCalls(const Cell& cell) = 0;
  virtual absl::StatusOr<Figures> RunPush(const Cell& cell);
  virtual absl::StatusOr<Figures> RunRead(const Cell& cell);
  virtual absl::StatusOr<Figures> RunConnects(const Cell& cell);
};

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_CALLER_H_

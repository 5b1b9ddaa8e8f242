// Which cells a run of the benchmark measures.

#ifndef TANDEM_TESTS_BENCH_WIRE_PLAN_H_
#define TANDEM_TESTS_BENCH_WIRE_PLAN_H_

#include <cstddef>
#include <string>
#include <vector>

#include "tests/bench/wire/cell.h"

namespace tandem::bench {

struct Plan {
  int rounds = 5;
  double seconds = 0.25;  // of each round of calls
  std::vector<int> depths = {1, 8, 64, 1024};
  std::vector<std::size_t> payloads = {64, 4 << 10, 64 << 10, 1 << 20};
  // The small classics, too.
  bool classics = true;
  std::int64_t messages = 100'000;
  std::size_t transfer = 64 << 20;
  std::int64_t connects = 10'000;
  // Whose allocations are counted.
  std::int64_t counted = 20'000;
};

// Less than a minute, on a machine like ours.
Plan ShortPlan();
// Does everything once, and measures nothing.
Plan SmokePlan();

// What is in flight at once fits into 16 MiB.
std::vector<Cell> CellsOf(const Plan& plan);

// A round of the classics takes long, and one of connections has each of them
// timed.
int RoundsOf(const Plan& plan, Kind kind);

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_PLAN_H_

#include "tests/bench/wire/plan.h"

#include <algorithm>

namespace tandem::bench {
namespace {

constexpr std::size_t kMostInFlight = 16 << 20;

}  // namespace

Plan ShortPlan() {
  return {.rounds = 3,
          .seconds = 0.08,
          .depths = {1, 64},
          .payloads = {64, 4 << 10, 1 << 20},
          .messages = 10'000,
          .transfer = 16 << 20,
          .connects = 300,
          .counted = 5'000};
}

Plan SmokePlan() {
  return {.rounds = 1,
          .seconds = 0.005,
          .depths = {1, 8},
          .payloads = {64},
          .messages = 100,
          .transfer = 1 << 20,
          .connects = 3,
          .counted = 64};
}

std::vector<Cell> CellsOf(const Plan& plan) {
  std::vector<Cell> cells;
  for (const std::size_t payload : plan.payloads) {
    for (const int depth : plan.depths) {
      if (payload * static_cast<std::size_t>(depth) > kMostInFlight) continue;
      cells.push_back(
          {.depth = depth, .payload = payload, .seconds = plan.seconds});
    }
  }
  if (!plan.classics) return cells;
  cells.push_back(
      {.kind = Kind::kPush, .payload = 1 << 10, .calls = plan.messages});
  cells.push_back({.kind = Kind::kRead, .payload = plan.transfer, .calls = 2});
  cells.push_back(
      {.kind = Kind::kConnects, .payload = 64, .calls = plan.connects});
  return cells;
}

int RoundsOf(const Plan& plan, Kind kind) {
  if (kind == Kind::kCalls) return plan.rounds;
  return kind == Kind::kConnects ? 1 : std::min(plan.rounds, 3);
}

}  // namespace tandem::bench

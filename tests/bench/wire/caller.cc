#include "tests/bench/wire/caller.h"

#include <vector>

#include "absl/status/status.h"
#include "tests/bench/wire/closed_loop.h"

namespace tandem::bench {

absl::StatusOr<Figures> Caller::Run(const Cell& cell) {
  if (!Does(cell)) return absl::UnimplementedError("");
  switch (cell.kind) {
    case Kind::kCalls:
      return RunCalls(cell);
    case Kind::kPush:
      return RunPush(cell);
    case Kind::kRead:
      return RunRead(cell);
    case Kind::kConnects:
      return RunConnects(cell);
  }
  return absl::UnimplementedError("no such kind");
}

Figures Caller::PushedSince(std::int64_t begun, const Cell& cell) {
  std::vector<float> none;
  return Summarize(cell.calls, static_cast<double>(NowNanos() - begun) / 1e9,
                   none);
}

absl::StatusOr<Figures> Caller::RunPush(const Cell&) {
  return absl::UnimplementedError("");
}

absl::StatusOr<Figures> Caller::RunRead(const Cell&) {
  return absl::UnimplementedError("");
}

absl::StatusOr<Figures> Caller::RunConnects(const Cell&) {
  return absl::UnimplementedError("");
}

}  // namespace tandem::bench

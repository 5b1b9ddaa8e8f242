// One measurement: what is asked for, and what came out.

#ifndef TANDEM_TESTS_BENCH_WIRE_CELL_H_
#define TANDEM_TESTS_BENCH_WIRE_CELL_H_

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem::bench {

enum class Kind : std::uint8_t {
  kCalls,     // A closed loop: each answer leads to the next call.
  kPush,      // One way: `calls` messages, answered once, at the end.
  kRead,      // A transfer of `payload` bytes to the client, in chunks.
  kConnects,  // Connections, each with one call of `payload` bytes.
};

// Of the transfers of kRead.
inline constexpr std::size_t kChunk = 64 << 10;

struct Cell {
  Kind kind = Kind::kCalls;
  int depth = 1;            // calls in flight
  std::size_t payload = 0;  // bytes, each way
  // How long to go on; or, where `calls` is not 0, until so many are done.
  double seconds = 0;
  std::int64_t calls = 0;
};

struct Figures {
  std::int64_t calls = 0;
  double seconds = 0;
  // Of one call, in microseconds; of all, or of some of many.
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double p999 = 0;
};

std::string_view NameOf(Kind kind);

// As programs in other languages read and write them.
nlohmann::ordered_json ToJson(const Cell& cell);
absl::StatusOr<Cell> CellFrom(const std::string& line);
nlohmann::ordered_json ToJson(const Figures& figures);
// Errors: what the line says went wrong, as kUnknown; kUnimplemented where a
// client does not do such cells.
absl::StatusOr<Figures> FiguresFrom(const std::string& line);
std::string ErrorLine(const absl::Status& error);

// Sorts `micros`.
Figures Summarize(std::int64_t calls, double seconds,
                  std::vector<float>& micros);

// Monotonic.
std::int64_t NowNanos();
inline float MicrosSince(std::int64_t begun) {
  return static_cast<float>(NowNanos() - begun) / 1000;
}

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_CELL_H_

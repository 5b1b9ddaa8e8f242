#include "tests/bench/wire/cell.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tandem::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 4> kNames = {"calls", "push", "read",
                                                    "connects"};

}  // namespace

std::string_view NameOf(Kind kind) {
  return kNames[static_cast<std::size_t>(kind)];
}

Json ToJson(const Cell& cell) {
  return {{"kind", NameOf(cell.kind)},
          {"depth", cell.depth},
          {"payload", cell.payload},
          {"seconds", cell.seconds},
          {"calls", cell.calls}};
}

absl::StatusOr<Cell> CellFrom(const std::string& line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("no cell: " + line);
  const auto kind =
      std::find(kNames.begin(), kNames.end(), json.value("kind", ""));
  if (kind == kNames.end()) {
    return absl::InvalidArgumentError("a cell of no known kind: " + line);
  }
  return Cell{.kind = static_cast<Kind>(kind - kNames.begin()),
              .depth = std::max(json.value("depth", 1), 1),
              .payload = json.value("payload", std::size_t{0}),
              .seconds = json.value("seconds", 0.0),
              .calls = json.value("calls", std::int64_t{0})};
}

Json ToJson(const Figures& figures) {
  return {{"calls", figures.calls}, {"seconds", figures.seconds},
          {"p50_us", figures.p50},  {"p90_us", figures.p90},
          {"p99_us", figures.p99},  {"p999_us", figures.p999}};
}

absl::StatusOr<Figures> FiguresFrom(const std::string& line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::UnknownError("no answer: " + line);
  if (json.contains("unsupported")) {
    return absl::UnimplementedError("it does not do that");
  }
  if (json.contains("error")) {
    return absl::UnknownError(json.value("error", ""));
  }
  return Figures{.calls = json.value("calls", std::int64_t{0}),
                 .seconds = json.value("seconds", 0.0),
                 .p50 = json.value("p50_us", 0.0),
                 .p90 = json.value("p90_us", 0.0),
                 .p99 = json.value("p99_us", 0.0),
                 .p999 = json.value("p999_us", 0.0)};
}

std::string ErrorLine(const absl::Status& error) {
  if (absl::IsUnimplemented(error)) return Json({{"unsupported", true}}).dump();
  return Json({{"error", error.ToString()}}).dump();
}

Figures Summarize(std::int64_t calls, double seconds,
                  std::vector<float>& micros) {
  std::sort(micros.begin(), micros.end());
  const auto at = [&micros](double share) -> double {
    if (micros.empty()) return 0;
    return micros[static_cast<std::size_t>(
        share * static_cast<double>(micros.size() - 1))];
  };
  return {.calls = calls,
          .seconds = seconds,
          .p50 = at(.5),
          .p90 = at(.9),
          .p99 = at(.99),
          .p999 = at(.999)};
}

std::int64_t NowNanos() {
  return std::chrono::steady_clock::now().time_since_epoch() /
         std::chrono::nanoseconds(1);
}

}  // namespace tandem::bench

#include "tests/bench/wire/report.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "rpc/base/version.h"

namespace tandem::bench {
namespace {

using Json = nlohmann::ordered_json;

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Of the sources; empty where there is no git.
std::string Commit() {
  const std::unique_ptr<FILE, int (*)(FILE*)> git(
      ::popen("git -C " TANDEM_SOURCE_DIR
              " describe --always --dirty 2>/dev/null",
              "r"),
      ::pclose);
  char line[200] = "";
  if (git == nullptr || std::fgets(line, sizeof(line), git.get()) == nullptr) {
    return "";
  }
  return std::string(absl::StripSuffix(line, "\n"));
}

std::string Processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) {
      return line.substr(std::min(line.find(": ") + 2, line.size()));
    }
  }
  return "";
}

Json Machine() {
  utsname names{};
  ::uname(&names);
  return {{"kernel", absl::StrCat(names.sysname, " ", names.release)},
          {"processor", Processor()},
          {"cores", std::thread::hardware_concurrency()},
          {"compiler", __VERSION__}};
}

double Rate(const Measured& measured) {
  return static_cast<double>(measured.figures.calls) / measured.figures.seconds;
}

double Micros(absl::Duration time, const Measured& measured) {
  return absl::ToDoubleMicroseconds(time) /
         static_cast<double>(std::max<std::int64_t>(measured.figures.calls, 1));
}

struct Spread {
  double median;
  double least;
  double most;
};

Spread SpreadOf(const Row& row,
                const std::function<double(const Measured&)>& value) {
  std::vector<double> values;
  for (const Measured& round : row.rounds) values.push_back(value(round));
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

double Median(const Row& row,
              const std::function<double(const Measured&)>& value) {
  return SpreadOf(row, value).median;
}

std::string Bytes(std::size_t bytes) {
  if (bytes >= 1 << 20) return absl::StrCat(bytes >> 20, " MiB");
  if (bytes >= 1 << 10) return absl::StrCat(bytes >> 10, " KiB");
  return absl::StrCat(bytes, " B");
}

std::string Title(const Cell& cell) {
  switch (cell.kind) {
    case Kind::kCalls:
      return absl::StrCat(cell.depth, " in flight, ", Bytes(cell.payload),
                          " each way");
    case Kind::kPush:
      return absl::StrCat(cell.calls, " messages of ", Bytes(cell.payload),
                          ", one way");
    case Kind::kRead:
      return absl::StrCat("a transfer of ", Bytes(cell.payload));
    case Kind::kConnects:
      return absl::StrCat(cell.calls,
                          " connections one after the other, with a call each");
  }
  return "";
}

Json ToJson(const Measured& round) {
  Json json = ToJson(round.figures);
  json["per_second"] = Rate(round);
  json["client_cpu_us"] = Micros(round.client_cpu, round);
  json["server_cpu_us"] = Micros(round.server_cpu, round);
  json["foreign_cpus"] = round.foreign;
  return json;
}

}  // namespace

Report::Report(const std::string& mode) {
  json_ = {{"version", std::string(rpc::FrameworkVersion())},
           {"commit", Commit()},
           {"begun", absl::FormatTime(absl::Now())},
           {"load_before", FirstLine("/proc/loadavg")},
           {"mode", mode},
           {"machine", Machine()},
           {"cells", Json::array()}};
  absl::PrintF("%s, %d cores; %s; load %s\n",
               json_["machine"]["processor"].get<std::string>(),
               std::thread::hardware_concurrency(), mode,
               FirstLine("/proc/loadavg"));
}

void Report::Add(const Cell& cell, const std::vector<Row>& rows) {
  Json json = ToJson(cell);
  json["rows"] = Json::array();
  double limit = 0;
  for (const Row& row : rows) {
    if (row.subject == "frames") limit = Median(row, Rate);
  }
  absl::PrintF("\n%s; medians of %d rounds\n", Title(cell),
               rows.empty() ? 0 : rows.front().rounds.size());
  absl::PrintF("%-14s %11s %23s %7s %9s %9s %9s %9s %17s %6s\n", "", "/s",
               "(least to most)", "/frames", "p50 us", "p90", "p99", "p99.9",
               "CPU us: cl. + srv.", "others");
  for (const Row& row : rows) {
    const Spread rate = SpreadOf(row, Rate);
    const auto percentile = [&row](double Figures::*which) {
      return Median(row,
                    [which](const Measured& m) { return m.figures.*which; });
    };
    absl::PrintF(
        "%-14s %11.0f %23s %7s %9.1f %9.1f %9.1f %9.1f %8.2f + %7.2f %6.2f\n",
        row.subject, rate.median,
        absl::StrFormat("(%.0f to %.0f)", rate.least, rate.most),
        limit == 0 ? "" : absl::StrFormat("%.3f", rate.median / limit),
        percentile(&Figures::p50), percentile(&Figures::p90),
        percentile(&Figures::p99), percentile(&Figures::p999),
        Median(row, [](const Measured& m) { return Micros(m.client_cpu, m); }),
        Median(row, [](const Measured& m) { return Micros(m.server_cpu, m); }),
        Median(row, [](const Measured& m) { return m.foreign; }));
    Json rounds = Json::array();
    for (const Measured& round : row.rounds) rounds.push_back(ToJson(round));
    json["rows"].push_back({{"subject", row.subject}, {"rounds", rounds}});
  }
  std::fflush(stdout);
  json_["cells"].push_back(std::move(json));
}

void Report::AddAllocations(const std::string& subject, const Cell& cell,
                            double client, double server) {
  absl::PrintF(
      "%-14s allocations per call, %4d in flight, %4s: client %6.2f, server "
      "%6.2f\n",
      subject, cell.depth, Bytes(cell.payload), client, server);
  AddPerCall("allocations", subject, cell, client, server);
}

void Report::AddInstructions(const std::string& subject, const Cell& cell,
                             double client, double server) {
  absl::PrintF(
      "%-14s instructions per call (callgrind, user code), %4d in flight, %s: "
      "client %8.0f, server %8.0f\n",
      subject, cell.depth, Bytes(cell.payload), client, server);
  AddPerCall("instructions", subject, cell, client, server);
}

void Report::AddPerCall(const std::string& what, const std::string& subject,
                        const Cell& cell, double client, double server) {
  std::fflush(stdout);
  json_[what].push_back({{"subject", subject},
                         {"depth", cell.depth},
                         {"payload", cell.payload},
                         {"client", client},
                         {"server", server}});
}

void Report::AddSkipped(const std::string& subject, const std::string& why) {
  absl::PrintF("SKIPPED %s: %s\n", subject, why);
  std::fflush(stdout);
  json_["skipped"].push_back({{"subject", subject}, {"why", why}});
}

absl::Status Report::Write(const std::string& path) {
  json_["load_after"] = FirstLine("/proc/loadavg");
  if (path.empty()) return absl::OkStatus();
  std::ofstream file(path);
  file << json_.dump(1) << "\n";
  file.close();
  return file ? absl::OkStatus() : absl::DataLossError("cannot write " + path);
}

}  // namespace tandem::bench

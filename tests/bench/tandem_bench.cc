// Measures the real pair: how fast it commits, how long one transaction takes,
// what it costs. Prints a table, and JSON with every round.

#include <sys/utsname.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/version.h"
#include "tandem/node/v1/node.tandem.h"
#include "tests/bench/disk.h"
#include "tests/bench/load.h"
#include "tests/bench/pair.h"
#include "tests/bench/process_meter.h"

namespace tandem::bench {
namespace {

using Json = nlohmann::ordered_json;
using node::v1::NodeClient;

struct Options {
  std::string directory = "tandem-bench-data";
  std::string json;
  std::uint64_t transactions = 100'000;
  int batch = 1000;
  int in_flight = 4;
  int rounds = 3;
  int lone = 200;
};

double Milliseconds(absl::Duration time) {
  return absl::ToDoubleMilliseconds(time);
}

absl::Duration Percentile(std::vector<absl::Duration> times, double share) {
  std::sort(times.begin(), times.end());
  return times[static_cast<std::size_t>(share *
                                        static_cast<double>(times.size() - 1))];
}

absl::StatusOr<absl::Duration> TimeStart(const std::string& directory) {
  const absl::Time begin = absl::Now();
  TANDEM_ASSIGN_OR_RETURN(auto pair, Pair::Start(directory));
  NodeClient client(pair->channel());
  TANDEM_RETURN_IF_ERROR(CommitOne(client, 0));
  return absl::Now() - begin;
}

struct Bench {
  Options options;
  Json json;

  void Row(const std::string& name, const std::string& value) const {
    absl::PrintF("%-44s %s\n", name, value);
    std::fflush(stdout);
  }

  absl::StatusOr<std::string> NewDirectory(const std::string& name) const {
    const std::string path = options.directory + "/" + name;
    std::error_code error;
    std::filesystem::remove_all(path, error);
    std::filesystem::create_directories(path, error);
    if (error) return absl::ErrnoToStatus(error.value(), "mkdir " + path);
    return std::filesystem::absolute(path).string();
  }

  absl::Status RunStart() {
    std::vector<absl::Duration> times;
    for (int round = 0; round < options.rounds; ++round) {
      TANDEM_ASSIGN_OR_RETURN(const std::string directory,
                              NewDirectory("start"));
      TANDEM_ASSIGN_OR_RETURN(const absl::Duration time, TimeStart(directory));
      times.push_back(time);
      json["start_to_first_commit_ms"].push_back(Milliseconds(time));
    }
    Row("start of both to the first commit",
        absl::StrFormat("%.0f ms (%.0f .. %.0f)",
                        Milliseconds(Percentile(times, 0.5)),
                        Milliseconds(Percentile(times, 0)),
                        Milliseconds(Percentile(times, 1))));
    return absl::OkStatus();
  }

  // Interleaved with the disk's own time.
  absl::Status RunLone(NodeClient& client, const std::string& directory,
                       std::uint64_t first) {
    for (int round = 0; round < options.rounds; ++round) {
      TANDEM_ASSIGN_OR_RETURN(const auto syncs, TimeSyncs(directory, 100));
      std::vector<absl::Duration> times;
      for (int i = 0; i < options.lone; ++i) {
        const absl::Time begin = absl::Now();
        TANDEM_RETURN_IF_ERROR(CommitOne(client, first++));
        times.push_back(absl::Now() - begin);
      }
      const double sync = Milliseconds(Percentile(syncs, 0.5));
      const double p50 = Milliseconds(Percentile(times, 0.5));
      const double p99 = Milliseconds(Percentile(times, 0.99));
      json["lone"].push_back({{"fdatasync_p50_ms", sync},
                              {"four_syncs_plus_2_ms", 4 * sync + 2},
                              {"p50_ms", p50},
                              {"p99_ms", p99}});
      Row("one transaction alone, until committed",
          absl::StrFormat("p50 %.2f ms, p99 %.2f ms; one 4 KiB append with "
                          "fdatasync %.2f ms, 4 of them + 2 ms %.2f ms",
                          p50, p99, sync, 4 * sync + 2));
    }
    return absl::OkStatus();
  }

  absl::Status RunThroughput(Pair& pair, NodeClient& client) {
    const std::uint64_t count =
        options.transactions / static_cast<std::uint64_t>(options.rounds);
    for (int round = 0; round < options.rounds; ++round) {
      const MachineTime machine = CpuTimeOfMachine();
      const absl::Duration app = CpuTime(pair.app());
      const absl::Duration node = CpuTime(pair.node());
      const absl::Duration own = CpuTime(::getpid());
      const absl::Time begin = absl::Now();
      Load load(client,
                {.batch = options.batch, .in_flight = options.in_flight});
      TANDEM_RETURN_IF_ERROR(
          load.Run((static_cast<std::uint64_t>(round) + 1) << 32, count));
      const absl::Duration took = absl::Now() - begin;
      const auto micros = [count](absl::Duration time) {
        return absl::ToDoubleMicroseconds(time) / static_cast<double>(count);
      };
      const absl::Duration app_used = CpuTime(pair.app()) - app;
      const absl::Duration node_used = CpuTime(pair.node()) - node;
      const absl::Duration own_used = CpuTime(::getpid()) - own;
      const absl::Duration foreign = CpuTimeOfMachine().busy - machine.busy -
                                     app_used - node_used - own_used;
      const double rate =
          static_cast<double>(count) / absl::ToDoubleSeconds(took);
      const double foreign_share = absl::FDivDuration(foreign, took);
      json["throughput"].push_back({{"transactions", count},
                                    {"transactions_per_second", rate},
                                    {"app_cpu_us", micros(app_used)},
                                    {"node_cpu_us", micros(node_used)},
                                    {"load_cpu_us", micros(own_used)},
                                    {"foreign_cpus", foreign_share}});
      Row(absl::StrFormat("%d transactions of 64 bytes", count),
          absl::StrFormat("%.0f /s; CPU per transaction: app %.1f us, node "
                          "%.1f us, load %.1f us; others took %.2f CPUs",
                          rate, micros(app_used), micros(node_used),
                          micros(own_used), foreign_share));
    }
    const double mega = 1 << 20;
    const double app = ResidentBytes(pair.app()) / mega;
    const double node = ResidentBytes(pair.node()) / mega;
    json["resident_mib"] = {{"app", app}, {"node", node}};
    Row(absl::StrFormat("resident after %d transactions", options.transactions),
        absl::StrFormat("app %.1f MiB, node %.1f MiB", app, node));
    return absl::OkStatus();
  }

  absl::Status Run() {
    utsname machine;
    if (::uname(&machine) == 0) {
      json["kernel"] = machine.release;
      json["machine"] = machine.machine;
    }
    json["version"] = std::string(rpc::FrameworkVersion());
    json["cpus"] = std::thread::hardware_concurrency();
    json["batch"] = options.batch;
    json["batches_in_flight"] = options.in_flight;
    TANDEM_RETURN_IF_ERROR(RunStart());
    TANDEM_ASSIGN_OR_RETURN(const std::string directory, NewDirectory("pair"));
    TANDEM_ASSIGN_OR_RETURN(auto pair, Pair::Start(directory));
    NodeClient client(pair->channel());
    TANDEM_RETURN_IF_ERROR(CommitOne(client, 0));
    TANDEM_RETURN_IF_ERROR(RunLone(client, directory, 1));
    TANDEM_RETURN_IF_ERROR(RunThroughput(*pair, client));
    if (!options.json.empty()) {
      std::ofstream file(options.json);
      file << json.dump(2) << "\n";
      file.close();
      if (!file) return absl::DataLossError("cannot write " + options.json);
    }
    return absl::OkStatus();
  }
};

int Main(int argc, char** argv) {
  Bench bench;
  Options& options = bench.options;
  CLI::App program("Measures the real pair. Figures, not a test.");
  program.add_option("--data", options.directory, "Where the data goes")
      ->capture_default_str();
  program.add_option("--json", options.json, "File for every round's figures");
  program
      .add_option("--transactions", options.transactions,
                  "How many to commit in all")
      ->capture_default_str();
  program.add_option("--batch", options.batch, "Transactions per SubmitBatch")
      ->capture_default_str();
  program.add_option("--in-flight", options.in_flight, "Batches in flight")
      ->capture_default_str();
  program.add_option("--rounds", options.rounds, "Rounds of each measurement")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  program.add_option("--lone", options.lone, "Lone transactions per round")
      ->capture_default_str();
  CLI11_PARSE(program, argc, argv);
  const absl::Status status = bench.Run();
  if (!status.ok()) {
    absl::FPrintF(stderr, "tandem-bench: %s\n", status.ToString());
  }
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace tandem::bench

int main(int argc, char** argv) { return tandem::bench::Main(argc, argv); }

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
#include "rpc/base/mutex.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/version.h"
#include "rpc/client/channel.h"
#include "rpc/testing/process.h"
#include "tandem/node/v1/node.tandem.h"
#include "tests/bench/disk.h"
#include "tests/bench/process_meter.h"

namespace tandem::bench {
namespace {

using Json = nlohmann::ordered_json;
using node::v1::NodeClient;
using rpc::testing::Process;

struct Options {
  std::string directory = "tandem-bench-data";
  std::string json;
  std::uint64_t transactions = 100'000;
  int batch = 1000;
  int in_flight = 4;
  int rounds = 3;
  int lone = 200;
};

constexpr absl::Duration kTimeout = absl::Seconds(60);

double Milliseconds(absl::Duration time) {
  return absl::ToDoubleMilliseconds(time);
}

absl::Duration Percentile(std::vector<absl::Duration> times, double share) {
  std::sort(times.begin(), times.end());
  return times[static_cast<std::size_t>(share *
                                        static_cast<double>(times.size() - 1))];
}

// 64 bytes that no other number gives.
std::string Transaction(std::uint64_t number) {
  return absl::StrFormat("key%013d=%047d", number, number);
}

// The two programs, on a directory of their own.
class Pair {
 public:
  static absl::StatusOr<std::unique_ptr<Pair>> Start(
      const std::string& directory) {
    auto pair = std::make_unique<Pair>();
    const std::string app = "unix:" + directory + "/app.sock";
    const std::string node = "unix:" + directory + "/node.sock";
    TANDEM_ASSIGN_OR_RETURN(
        pair->app_,
        Process::Start(
            {.command = {TANDEM_BIN_DIR "/tandem-kvstore", "--listen", app,
                         "--data", directory + "/app"},
             .log_path = directory + "/app.log"}));
    TANDEM_ASSIGN_OR_RETURN(
        pair->node_, Process::Start({.command = {TANDEM_BIN_DIR "/tandem-node",
                                                 "--app", app, "--listen", node,
                                                 "--data", directory + "/node"},
                                     .log_path = directory + "/node.log"}));
    TANDEM_ASSIGN_OR_RETURN(pair->channel_, rpc::Channel::Connect(node));
    return pair;
  }

  pid_t app() const { return app_->pid(); }
  pid_t node() const { return node_->pid(); }
  rpc::Channel& channel() { return *channel_; }

 private:
  std::unique_ptr<Process> app_;
  std::unique_ptr<Process> node_;
  std::unique_ptr<rpc::Channel> channel_;
};

// Commits one transaction; the node may still be starting.
absl::Status CommitOne(NodeClient& client, std::uint64_t number) {
  node::v1::SubmitRequest request;
  request.set_tx(Transaction(number));
  request.set_wait(node::v1::COMMIT);
  const absl::Time deadline = absl::Now() + kTimeout;
  while (true) {
    const auto reply =
        client.Submit(request, {.timeout = kTimeout, .wait_for_ready = true});
    if (reply.ok() && reply->result().height() > 0) return absl::OkStatus();
    if (reply.ok()) return absl::InternalError("a transaction was refused");
    // The node is there before the application answers it.
    if (!absl::IsUnavailable(reply.status()) || absl::Now() > deadline) {
      return reply.status();
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
}

absl::StatusOr<absl::Duration> TimeStart(const std::string& directory) {
  const absl::Time begin = absl::Now();
  TANDEM_ASSIGN_OR_RETURN(auto pair, Pair::Start(directory));
  NodeClient client(pair->channel());
  TANDEM_RETURN_IF_ERROR(CommitOne(client, 0));
  return absl::Now() - begin;
}

// Commits many transactions, several batches in flight.
class Load {
 public:
  Load(NodeClient& client, const Options& options)
      : client_(client), options_(options) {}

  absl::Status Run(std::uint64_t first, std::uint64_t count) {
    const std::uint64_t end = first + count;
    for (std::uint64_t next = first; next < end;) {
      const std::uint64_t size = std::min<std::uint64_t>(
          static_cast<std::uint64_t>(options_.batch), end - next);
      WaitRoom(options_.in_flight - 1);
      Send(next, size);
      next += size;
    }
    WaitRoom(0);
    rpc::MutexLock lock(mu_);
    return status_;
  }

 private:
  void WaitRoom(int most) {
    rpc::MutexLock lock(mu_);
    mu_.Await([&] { return in_flight_ <= most; });
  }

  void Send(std::uint64_t first, std::uint64_t count) {
    node::v1::SubmitBatchRequest request;
    request.set_wait(node::v1::COMMIT);
    request.mutable_timeout()->set_seconds(absl::ToInt64Seconds(kTimeout));
    for (std::uint64_t i = 0; i < count; ++i) {
      request.add_txs(Transaction(first + i));
    }
    {
      rpc::MutexLock lock(mu_);
      ++in_flight_;
    }
    client_.SubmitBatch(
        request, {.timeout = kTimeout},
        [this](absl::StatusOr<node::v1::SubmitBatchReply> reply) {
          rpc::MutexLock lock(mu_);
          --in_flight_;
          status_.Update(Judge(reply));
          mu_.NotifyAll();
        });
  }

  static absl::Status Judge(
      const absl::StatusOr<node::v1::SubmitBatchReply>& reply) {
    if (!reply.ok()) return reply.status();
    for (const auto& result : reply->results()) {
      if (result.status() != 0 || result.result().height() == 0) {
        return absl::InternalError(
            absl::StrCat("a transaction was not committed: ", result.message(),
                         result.result().log()));
      }
    }
    return absl::OkStatus();
  }

  NodeClient& client_;
  const Options& options_;
  rpc::Mutex mu_;
  int in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

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
      Load load(client, options);
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

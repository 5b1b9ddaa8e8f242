// Measures how soon the pair goes on after a program was killed, and how fast
// blocks are given to an application that has lost its data. Prints a table.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "app/kvstore/state_store.h"
#include "node/block_store.h"
#include "rpc/base/status_macros.h"
#include "rpc/client/channel.h"
#include "rpc/testing/process.h"
#include "tandem/node/v1/node.tandem.h"
#include "tests/bench/load.h"
#include "tests/bench/pair.h"
#include "tests/bench/process_meter.h"

namespace tandem::bench {
namespace {

namespace fs = std::filesystem;
using node::v1::AppStatus;
using node::v1::NodeClient;

struct Options {
  std::string directory = "tandem-bench-data";
  int rounds = 15;
  std::uint64_t before = 100'000;
  std::uint64_t replayed = 1'000'000;
};

// Between two looks at something.
constexpr absl::Duration kTick = absl::Microseconds(500);
// While a replay takes the CPUs.
constexpr absl::Duration kReplayTick = absl::Milliseconds(20);
constexpr absl::Duration kLimit = absl::Minutes(5);

// A copy of a directory, which goes with the object.
class Copy {
 public:
  static absl::StatusOr<Copy> Of(const std::string& from,
                                 const std::string& to) {
    std::error_code error;
    fs::remove_all(to, error);
    fs::copy(from, to, fs::copy_options::recursive, error);
    if (error) return absl::ErrnoToStatus(error.value(), "copy " + from);
    return Copy(to);
  }
  ~Copy() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  Copy(Copy&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  Copy& operator=(Copy&&) = delete;

 private:
  explicit Copy(const std::string& path) : path_(path) {}

  std::string path_;
};

// How long both databases take to open, at once, as in the two programs.
absl::StatusOr<absl::Duration> TimeOpen(const std::string& directory) {
  const std::string blocks = directory + "/blocks-copy";
  const std::string state = directory + "/state-copy";
  TANDEM_ASSIGN_OR_RETURN(const Copy node_copy,
                          Copy::Of(directory + "/node/blocks", blocks));
  TANDEM_ASSIGN_OR_RETURN(const Copy app_copy,
                          Copy::Of(directory + "/app/state", state));
  const absl::Time begin = absl::Now();
  absl::Status opened;
  absl::Time app_end;
  std::thread app([&] {
    opened = app::StateStore::Open(state).status();
    app_end = absl::Now();
  });
  const absl::Status also = node::BlockStore::Open(blocks).status();
  const absl::Time node_end = absl::Now();
  app.join();
  TANDEM_RETURN_IF_ERROR(opened);
  TANDEM_RETURN_IF_ERROR(also);
  return std::max(app_end, node_end) - begin;
}

// How long a tandem-kvstore takes until it answers, on a copy of the data.
absl::StatusOr<absl::Duration> TimeAppStart(const std::string& directory) {
  const std::string data = directory + "/app-copy";
  TANDEM_ASSIGN_OR_RETURN(const Copy copy, Copy::Of(directory + "/app", data));
  const std::string address = "unix:" + directory + "/copy.sock";
  TANDEM_ASSIGN_OR_RETURN(const auto channel, rpc::Channel::Connect(address));
  const absl::Time begin = absl::Now();
  TANDEM_ASSIGN_OR_RETURN(const auto app,
                          rpc::testing::Process::Start(
                              {.command = {TANDEM_BIN_DIR "/tandem-kvstore",
                                           "--listen", address, "--data", data},
                               .log_path = directory + "/copy.log"}));
  while (!channel->OpenSession(kLimit).ok()) {
    if (absl::Now() - begin > kLimit) {
      return absl::DeadlineExceededError("the application does not start");
    }
    absl::SleepFor(kTick);
  }
  return absl::Now() - begin;
}

// Waits until the node says that its application is, or is not, in step; asks
// so often.
absl::Status AwaitRunning(NodeClient& client, bool is_running,
                          absl::Duration pause) {
  const absl::Time limit = absl::Now() + kLimit;
  while (absl::Now() < limit) {
    const auto status = client.Status({});
    if (status.ok() &&
        (status->app().state() == AppStatus::RUNNING) == is_running) {
      return absl::OkStatus();
    }
    absl::SleepFor(pause);
  }
  return absl::DeadlineExceededError("the node does not come to it");
}

// What was measured in each round, for one row of the table.
class Times {
 public:
  explicit Times(std::string name) : name_(std::move(name)) {}

  void Add(absl::Duration time) { times_.push_back(time); }

  void Print() {
    std::sort(times_.begin(), times_.end());
    absl::PrintF("%-52s %6.1f ms (%.1f .. %.1f)\n", name_,
                 absl::ToDoubleMilliseconds(times_[times_.size() / 2]),
                 absl::ToDoubleMilliseconds(times_.front()),
                 absl::ToDoubleMilliseconds(times_.back()));
    std::fflush(stdout);
  }

 private:
  const std::string name_;
  std::vector<absl::Duration> times_;
};

class HealingBench {
 public:
  explicit HealingBench(const Options& options) : options_(options) {}

  absl::Status Run() {
    TANDEM_RETURN_IF_ERROR(MakeDirectory());
    TANDEM_ASSIGN_OR_RETURN(pair_, Pair::Start(directory_));
    TANDEM_RETURN_IF_ERROR(Fill(options_.before));
    TANDEM_RETURN_IF_ERROR(KillBoth());
    TANDEM_RETURN_IF_ERROR(KillApps());
    if (options_.replayed == 0) return absl::OkStatus();
    TANDEM_RETURN_IF_ERROR(
        Fill(options_.replayed - std::min(next_, options_.replayed)));
    return Replay();
  }

 private:
  absl::Status MakeDirectory() {
    const std::string path = options_.directory + "/healing";
    std::error_code error;
    fs::remove_all(path, error);
    fs::create_directories(path, error);
    if (error) return absl::ErrnoToStatus(error.value(), "mkdir " + path);
    directory_ = fs::absolute(path).string();
    return absl::OkStatus();
  }

  absl::Status Fill(std::uint64_t count) {
    NodeClient client(pair_->channel());
    TANDEM_RETURN_IF_ERROR(CommitOne(client, next_++));
    Load load(client, {});
    const std::uint64_t first = next_;
    next_ += count;
    return load.Run(first, count);
  }

  absl::Status KillBoth() {
    Times opens("both databases opened");
    Times alls("both killed, to the next block");
    Times more("that without the opening");
    NodeClient client(pair_->channel());
    for (int round = 0; round < options_.rounds; ++round) {
      const absl::Time begin = absl::Now();
      pair_->KillNode();
      pair_->KillApp();
      const absl::Duration dying = absl::Now() - begin;
      TANDEM_ASSIGN_OR_RETURN(const absl::Duration open, TimeOpen(directory_));
      const absl::Time again = absl::Now();
      TANDEM_RETURN_IF_ERROR(pair_->StartApp());
      TANDEM_RETURN_IF_ERROR(pair_->StartNode());
      TANDEM_RETURN_IF_ERROR(CommitOne(client, next_++));
      const absl::Duration all = dying + (absl::Now() - again);
      opens.Add(open);
      alls.Add(all);
      more.Add(all - open);
    }
    opens.Print();
    alls.Print();
    more.Print();
    return absl::OkStatus();
  }

  absl::Status KillApps() {
    Times starts("an application started alone, until it answers");
    Times notices("application killed, until the node's status says so");
    Times alls("application killed, to the next block");
    Times more("that without the application's start");
    NodeClient client(pair_->channel());
    for (int round = 0; round < options_.rounds; ++round) {
      absl::Time begin = absl::Now();
      pair_->KillApp();
      TANDEM_RETURN_IF_ERROR(AwaitRunning(client, false, kTick));
      notices.Add(absl::Now() - begin);
      TANDEM_ASSIGN_OR_RETURN(const absl::Duration start,
                              TimeAppStart(directory_));
      TANDEM_RETURN_IF_ERROR(pair_->StartApp());
      TANDEM_RETURN_IF_ERROR(CommitOne(client, next_++));
      begin = absl::Now();
      pair_->KillApp();
      TANDEM_RETURN_IF_ERROR(pair_->StartApp());
      TANDEM_RETURN_IF_ERROR(CommitOne(client, next_++));
      const absl::Duration all = absl::Now() - begin;
      starts.Add(start);
      alls.Add(all);
      more.Add(all - start);
    }
    notices.Print();
    starts.Print();
    alls.Print();
    more.Print();
    return absl::OkStatus();
  }

  absl::Status Replay() {
    NodeClient client(pair_->channel());
    for (int round = 0; round < 3; ++round) {
      pair_->KillApp();
      TANDEM_RETURN_IF_ERROR(AwaitRunning(client, false, kTick));
      std::error_code error;
      fs::remove_all(directory_ + "/app", error);
      TANDEM_RETURN_IF_ERROR(pair_->StartApp());
      const absl::Duration node = CpuTime(pair_->node());
      const absl::Time begin = absl::Now();
      TANDEM_RETURN_IF_ERROR(AwaitRunning(client, true, kReplayTick));
      const absl::Duration took = absl::Now() - begin;
      const absl::Duration node_used = CpuTime(pair_->node()) - node;
      TANDEM_ASSIGN_OR_RETURN(const auto status, client.Status({}));
      absl::PrintF(
          "%-52s %6.2f s, %.0f /s; CPU: application %.2f s, node %.2f s\n",
          absl::StrFormat("%d transactions in %d blocks, replayed", next_,
                          status.height()),
          absl::ToDoubleSeconds(took),
          static_cast<double>(next_) / absl::ToDoubleSeconds(took),
          absl::ToDoubleSeconds(CpuTime(pair_->app())),
          absl::ToDoubleSeconds(node_used));
      std::fflush(stdout);
    }
    return absl::OkStatus();
  }

  const Options options_;
  std::string directory_;
  std::unique_ptr<Pair> pair_;
  std::uint64_t next_ = 0;  // the number of the next transaction
};

int Main(int argc, char** argv) {
  Options options;
  CLI::App program("Measures how the pair heals. Figures, not a test.");
  program.add_option("--data", options.directory, "Where the data goes")
      ->capture_default_str();
  program.add_option("--rounds", options.rounds, "Kills of each kind")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  program
      .add_option("--before", options.before,
                  "Transactions in the stores before the first kill")
      ->capture_default_str();
  program
      .add_option("--replayed", options.replayed,
                  "Transactions that are replayed; 0: none")
      ->capture_default_str();
  CLI11_PARSE(program, argc, argv);
  const absl::Status status = HealingBench(options).Run();
  if (!status.ok()) {
    absl::FPrintF(stderr, "tandem-healing-bench: %s\n", status.ToString());
  }
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace tandem::bench

int main(int argc, char** argv) { return tandem::bench::Main(argc, argv); }

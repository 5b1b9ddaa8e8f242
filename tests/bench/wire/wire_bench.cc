// Measures every wire beside what it is compared with: servers and clients in
// processes of their own, side by side, in rounds. Prints tables, writes JSON.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "rpc/base/status_macros.h"
#include "tests/bench/callgrind.h"
#include "tests/bench/wire/go_peers.h"
#include "tests/bench/wire/peers.h"
#include "tests/bench/wire/plan.h"
#include "tests/bench/wire/report.h"
#include "tests/bench/wire/subjects.h"

namespace tandem::bench {
namespace {

struct Options {
  std::string json;
  bool is_short = false;
  bool is_smoke = false;
  bool counts_allocations = true;
  bool counts_instructions = false;
  std::string pin = "none";
  std::vector<std::string> subjects;
  Plan plan;

  // What the program is in processes that it starts.
  std::string serve;
  std::string call;
  std::string address;
  std::string control;
};

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options), report_(Mode(options.pin)) {}

  absl::Status Run() {
    FindGo();
    if (options_.counts_instructions) {
      TANDEM_RETURN_IF_ERROR(CountInstructions());
      return report_.Write(options_.json);
    }
    TANDEM_RETURN_IF_ERROR(Measure());
    if (options_.counts_allocations) {
      TANDEM_RETURN_IF_ERROR(CountAllocations());
    }
    return report_.Write(options_.json);
  }

 private:
  static std::string Mode(const std::string& pin) {
    if (pin == "same") return "both processes pinned to one core";
    if (pin == "apart") return "each process pinned to a core of its own";
    return "processes not pinned";
  }

  bool IsAsked(const Subject& subject) const {
    const auto& asked = options_.subjects;
    return asked.empty() ||
           std::find(asked.begin(), asked.end(), subject.name) != asked.end();
  }

  void FindGo() {
    for (const Subject& subject : Subjects()) {
      if (!subject.is_go() || !IsAsked(subject) ||
          options_.counts_instructions) {
        continue;
      }
      const auto go = BuildGoPeers();
      if (go.ok()) {
        go_program_ = *go;
      } else {
        report_.AddSkipped("what is in Go", std::string(go.status().message()));
      }
      return;
    }
  }

  bool CanRun(const Subject& subject) const {
    return IsAsked(subject) && (!subject.is_go() || !go_program_.empty());
  }

  PeersOptions OptionsOfPeers() const {
    PeersOptions options{.go_program = go_program_};
    if (options_.pin != "none") {
      options.under_server = {"/usr/bin/taskset", "-c", "0"};
      options.under_client = {"/usr/bin/taskset", "-c",
                              options_.pin == "same" ? "0" : "1"};
    }
    return options;
  }

  absl::Status Measure() {
    std::vector<std::unique_ptr<Peers>> all;
    for (const Subject& subject : Subjects()) {
      if (!CanRun(subject)) continue;
      TANDEM_ASSIGN_OR_RETURN(all.emplace_back(),
                              Peers::Start(subject, OptionsOfPeers()));
    }
    for (const Cell& cell : CellsOf(options_.plan)) {
      TANDEM_RETURN_IF_ERROR(Measure(cell, all));
    }
    return absl::OkStatus();
  }

  absl::Status Measure(const Cell& cell,
                       const std::vector<std::unique_ptr<Peers>>& all) {
    Cell warm_up = cell;
    warm_up.seconds = cell.seconds / 4;
    warm_up.calls = std::min<std::int64_t>(cell.calls, 2);
    std::vector<Peers*> those;
    std::vector<Row> rows;
    for (const auto& peers : all) {
      const absl::Status status = peers->Measure(warm_up).status();
      if (absl::IsUnimplemented(status)) continue;
      TANDEM_RETURN_IF_ERROR(status);
      those.push_back(peers.get());
      rows.push_back({.subject = std::string(peers->subject().name)});
    }
    for (int round = 0; round < RoundsOf(options_.plan, cell.kind); ++round) {
      for (std::size_t i = 0; i < those.size(); ++i) {
        TANDEM_ASSIGN_OR_RETURN(rows[i].rounds.emplace_back(),
                                those[i]->Measure(cell));
      }
    }
    report_.Add(cell, rows);
    return absl::OkStatus();
  }

  // An empty message shows what the framework allocates; one of 64 bytes, what
  // protobuf does for it, too.
  absl::Status CountAllocations() {
    absl::PrintF("\n");
    for (const Subject& subject : Subjects()) {
      if (!CanRun(subject) || subject.is_go() || subject.is_tcp) continue;
      PeersOptions options = OptionsOfPeers();
      options.allocation_counter = TANDEM_ALLOCATION_COUNTER;
      TANDEM_ASSIGN_OR_RETURN(const auto peers, Peers::Start(subject, options));
      for (const std::size_t payload : {0, 64}) {
        for (const int depth : {1, 64}) {
          const Cell cell{.depth = depth,
                          .payload = payload,
                          .calls = options_.plan.counted};
          const auto warm_up = peers->Measure(cell);
          if (absl::IsUnimplemented(warm_up.status())) continue;
          TANDEM_ASSIGN_OR_RETURN(const Measured measured,
                                  peers->Measure(cell));
          const auto calls = static_cast<double>(measured.figures.calls);
          report_.AddAllocations(
              std::string(subject.name), cell,
              static_cast<double>(measured.client_allocations) / calls,
              static_cast<double>(measured.server_allocations) / calls);
        }
      }
    }
    return absl::OkStatus();
  }

  struct Counted {
    double client;
    double server;
  };

  // Of a whole life of both processes. On one core, where no lock is waited
  // for by spinning: how long it spins is chance.
  absl::StatusOr<Counted> CountInstructions(const Subject& subject,
                                            const Cell& cell) {
    PeersOptions options;
    options.under_server = UnderCallgrind("{}");
    options.under_client = options.under_server;
    TANDEM_ASSIGN_OR_RETURN(const auto peers, Peers::Start(subject, options));
    TANDEM_RETURN_IF_ERROR(peers->Measure(cell).status());
    TANDEM_RETURN_IF_ERROR(peers->Stop());
    TANDEM_ASSIGN_OR_RETURN(const double client,
                            InstructionsIn(peers->file("client")));
    TANDEM_ASSIGN_OR_RETURN(const double server,
                            InstructionsIn(peers->file("server")));
    return Counted{client, server};
  }

  absl::Status CountInstructions() {
    constexpr std::int64_t kFew = 640;
    constexpr std::int64_t kMany = 6400;
    for (const Subject& subject : Subjects()) {
      // How long one spins is chance.
      if (!CanRun(subject) || subject.is_tcp || subject.name == "ttrpc-spin") {
        continue;
      }
      for (const int depth : {1, 64}) {
        Cell cell{.depth = depth, .payload = 64, .calls = kFew};
        const auto few = CountInstructions(subject, cell);
        if (absl::IsUnimplemented(few.status())) continue;
        TANDEM_RETURN_IF_ERROR(few.status());
        cell.calls = kMany;
        TANDEM_ASSIGN_OR_RETURN(const Counted many,
                                CountInstructions(subject, cell));
        report_.AddInstructions(std::string(subject.name), cell,
                                (many.client - few->client) / (kMany - kFew),
                                (many.server - few->server) / (kMany - kFew));
      }
    }
    return absl::OkStatus();
  }

  const Options& options_;
  Report report_;
  std::string go_program_;
};

absl::Status Run(const Options& options) {
  if (!options.serve.empty()) {
    TANDEM_ASSIGN_OR_RETURN(const Subject* subject, FindSubject(options.serve));
    return subject->serve(options.address);
  }
  if (!options.call.empty()) {
    TANDEM_ASSIGN_OR_RETURN(const Subject* subject, FindSubject(options.call));
    return RunClient(*subject, options.address, options.control);
  }
  for (const std::string& name : options.subjects) {
    TANDEM_RETURN_IF_ERROR(FindSubject(name).status());
  }
  return Bench(options).Run();
}

std::string Footer() {
  std::string text = "Subjects:\n";
  for (const Subject& subject : Subjects()) {
    absl::StrAppendFormat(&text, "  %-14s %s\n", std::string(subject.name),
                          std::string(subject.what));
  }
  return text;
}

int Main(int argc, char** argv) {
  CLI::App program(
      "Measures Tandem's wires beside sockets, gRPC and others. Figures, not a "
      "test.",
      "tandem-wire-bench");
  program.footer(Footer());
  Options options;
  program.add_option("--json", options.json, "File for every round's figures");
  program.add_flag("--short", options.is_short, "Takes less than a minute");
  program.add_flag("--smoke", options.is_smoke,
                   "Does everything once, and measures nothing");
  // Presets first, so that what else is said counts.
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--short") options.plan = ShortPlan();
    if (std::string_view(argv[i]) == "--smoke") options.plan = SmokePlan();
  }
  program.add_option("--subjects", options.subjects, "Only these")
      ->delimiter(',');
  program.add_option("--rounds", options.plan.rounds, "Rounds of each cell")
      ->check(CLI::Range(1, 1000));
  program.add_option("--seconds", options.plan.seconds, "Of each round");
  program.add_option("--depths", options.plan.depths, "Calls in flight")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  program.add_option("--payloads", options.plan.payloads, "Bytes, each way")
      ->delimiter(',');
  program.add_flag("--classics,!--no-classics", options.plan.classics,
                   "One-way messages, a transfer, connections");
  program.add_flag("--allocations,!--no-allocations",
                   options.counts_allocations, "Count allocations per call");
  program.add_flag("--instructions", options.counts_instructions,
                   "Count instructions per call instead, under callgrind");
  program
      .add_option("--pin", options.pin,
                  "Both processes on one core, or each on its own")
      ->check(CLI::IsMember({"none", "same", "apart"}))
      ->capture_default_str();
  for (const auto& [name, value] : {std::pair{"--serve", &options.serve},
                                    {"--call", &options.call},
                                    {"--address", &options.address},
                                    {"--control", &options.control}}) {
    program.add_option(name, *value)->group("");
  }
  CLI11_PARSE(program, argc, argv);
  const absl::Status status = Run(options);
  if (status.ok()) return 0;
  absl::FPrintF(stderr, "tandem-wire-bench: %s\n", status.ToString());
  return 1;
}

}  // namespace
}  // namespace tandem::bench

int main(int argc, char** argv) { return tandem::bench::Main(argc, argv); }

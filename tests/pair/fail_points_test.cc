// Crashes both programs at every fail point (rpc/base/fail_point.h), and
// compares what comes of it with a run in which nothing crashed. With
// TANDEM_LONG_TESTS=1 in the environment at every pass of every point, else at
// the first, the second and the last.

#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/base/status_macros.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/pair/pair.h"
#include "tests/pair/patient_client.h"
#include "tests/support/long_tests.h"

namespace tandem {
namespace {

using node::v1::AppStatus;
using rpc::testing::IsOk;
using rpc::testing::IsOkAndHolds;
using rpc::testing::ProcessPair;
using test::IsLong;

constexpr absl::Duration kGenerous = absl::Seconds(60);
constexpr int kKilled = 128 + SIGKILL;

// The program that a point is in.
enum Program { kApp, kNode };

// The program's `launch`-th run (from 0) ends when it passes the point for the
// `pass`-th time (from 1).
struct Crash {
  Program program;
  int launch;
  std::string point;
  int pass;

  std::string ToString() const {
    return absl::StrCat(program == kApp ? "app" : "node", " ", launch, " at ",
                        point, ":", pass);
  }
};

// The names of the points that a run passed, in order.
using Trace = std::vector<std::string>;

int Passes(const Trace& trace, std::string_view point) {
  return static_cast<int>(std::count(trace.begin(), trace.end(), point));
}

// What a scenario left behind.
struct Outcome {
  // Each block in one line: what every run must agree on.
  std::vector<std::string> chain;
  // By program and launch.
  std::map<std::pair<Program, int>, Trace> traces;
};

// One half of the pair, which is started again when it ends.
class Half {
 public:
  Half(Program program, ProcessPair& server, const rpc::testing::TempDir& dir,
       std::vector<Crash> crashes)
      : program_(program),
        server_(server),
        dir_(dir),
        crashes_(std::move(crashes)) {}

  absl::Status Launch() {
    ++launch_;
    std::vector<std::string> environment = {
        absl::StrCat("TANDEM_FAIL_POINT_TRACE=", TracePath(launch_))};
    if (const Crash* crash = Pending()) {
      environment.push_back(
          absl::StrCat("TANDEM_FAIL_POINT=", crash->point, ":", crash->pass));
    }
    return server_.Launch(environment);
  }

  // Starts it again where it crashed as it was to. Errors: it ended otherwise.
  absl::Status KeepUp() {
    if (server_.is_running()) return absl::OkStatus();
    TANDEM_ASSIGN_OR_RETURN(const int end, server_.WaitExit());
    if (Pending() == nullptr || end != kKilled) {
      return absl::InternalError(absl::StrCat(
          program_ == kApp ? "the app" : "the node", " ended with ", end));
    }
    ++crashes_seen_;
    return Launch();
  }

  // Ends it with SIGKILL, and not at a fail point.
  void Kill() { server_.Kill(); }

  // Whether this run does nothing more by itself. Nothing follows on what the
  // client was told but the last point, and a crash at a point that is passed.
  bool IsQuiet() const {
    const Trace trace = ReadTrace(launch_);
    const Crash* crash = Pending();
    if (crash != nullptr && Passes(trace, crash->point) >= crash->pass) {
      return false;
    }
    return Passes(trace, "node/state-saved") ==
           Passes(trace, "node/clients-told");
  }

  // That this run ends by itself.
  const Crash* Pending() const {
    for (const Crash& crash : crashes_) {
      if (crash.program == program_ && crash.launch == launch_) return &crash;
    }
    return nullptr;
  }

  int crashes_seen() const { return crashes_seen_; }

  void CollectTraces(Outcome& outcome) const {
    for (int i = 0; i <= launch_; ++i) {
      outcome.traces[{program_, i}] = ReadTrace(i);
    }
  }

 private:
  std::string TracePath(int launch) const {
    return dir_.File(absl::StrCat(program_ == kApp ? "app" : "node", launch));
  }

  Trace ReadTrace(int launch) const {
    const std::string text = rpc::ReadFile(TracePath(launch)).value_or("");
    return absl::StrSplit(text, '\n', absl::SkipEmpty());
  }

  const Program program_;
  ProcessPair& server_;
  const rpc::testing::TempDir& dir_;
  const std::vector<Crash> crashes_;
  int launch_ = -1;
  int crashes_seen_ = 0;
};

// One run of the scenario, with crashes or without.
class Scenario {
 public:
  explicit Scenario(std::vector<Crash> crashes)
      : crashes_(std::move(crashes)),
        app_(kApp, pair_.app(), dir_, crashes_),
        node_(kNode, pair_.node(), dir_, crashes_),
        client_(pair_.node().channel(), [this] { return KeepUp(); }) {}

  // All of it. Errors: one half ended by itself, or the pair does not heal, or
  // what was acknowledged is not there, or a crash did not happen.
  absl::StatusOr<Outcome> Run() {
    TANDEM_RETURN_IF_ERROR(app_.Launch());
    TANDEM_RETURN_IF_ERROR(node_.Launch());
    // The first block is made without transactions.
    TANDEM_RETURN_IF_ERROR(AwaitQuiet());
    TANDEM_RETURN_IF_ERROR(Commit("a=1"));
    TANDEM_RETURN_IF_ERROR(Commit("b=2"));
    TANDEM_RETURN_IF_ERROR(Refuse("no pair"));
    TANDEM_RETURN_IF_ERROR(Commit(absl::StrCat(
        "val=ed25519!", absl::Base64Escape(std::string(32, 'k')), "!3")));
    TANDEM_RETURN_IF_ERROR(AwaitQuiet());
    app_.Kill();
    pair_.AllowOlderState();
    std::filesystem::remove_all(pair_.app().directory() + "/app");
    TANDEM_RETURN_IF_ERROR(app_.Launch());
    TANDEM_RETURN_IF_ERROR(Commit("c=3"));
    TANDEM_RETURN_IF_ERROR(AwaitQuiet());
    node_.Kill();
    TANDEM_RETURN_IF_ERROR(node_.Launch());
    TANDEM_RETURN_IF_ERROR(Commit("a=4"));
    TANDEM_RETURN_IF_ERROR(Commit("d=5"));
    TANDEM_RETURN_IF_ERROR(AwaitQuiet());
    return Collect();
  }

 private:
  absl::Status KeepUp() {
    TANDEM_RETURN_IF_ERROR(app_.KeepUp());
    TANDEM_RETURN_IF_ERROR(node_.KeepUp());
    if (absl::Now() < limit_) return absl::OkStatus();
    const auto status = pair_.Status();
    return absl::DeadlineExceededError(
        absl::StrCat("the pair does not heal: ",
                     status.ok() ? status->app().DebugString()
                                 : std::string(status.status().message())));
  }

  absl::Status Commit(const std::string& tx) {
    TANDEM_ASSIGN_OR_RETURN(const Fate fate, client_.Settle(tx));
    if (fate.height == 0) {
      return absl::InternalError(absl::StrCat(tx, " was refused"));
    }
    committed_[tx] = fate.height;
    return absl::OkStatus();
  }

  absl::Status Refuse(const std::string& tx) {
    TANDEM_ASSIGN_OR_RETURN(const Fate fate, client_.Settle(tx));
    if (fate.height == 0) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(tx, " was committed"));
  }

  // Waits until both are up and have done what they do.
  absl::Status AwaitQuiet() {
    while (true) {
      TANDEM_RETURN_IF_ERROR(KeepUp());
      if (app_.IsQuiet() && node_.IsQuiet()) {
        const auto status = pair_.Status();
        if (status.ok() && status->height() > 0 &&
            status->app().state() == AppStatus::RUNNING) {
          return absl::OkStatus();
        }
      }
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  absl::StatusOr<Outcome> Collect() {
    Outcome outcome;
    app_.CollectTraces(outcome);
    node_.CollectTraces(outcome);
    std::map<std::string, std::int64_t> found;
    TANDEM_ASSIGN_OR_RETURN(const auto status, pair_.Status());
    for (std::int64_t height = 1; height <= status.height(); ++height) {
      node::v1::GetBlockRequest request;
      request.set_height(height);
      TANDEM_ASSIGN_OR_RETURN(const auto block,
                              pair_.client().GetBlock(request));
      outcome.chain.push_back(ToLine(block));
      for (const std::string& tx : block.block().txs()) {
        if (!found.emplace(tx, height).second) {
          return absl::DataLossError(absl::StrCat(tx, " is there twice"));
        }
      }
    }
    if (found != committed_) {
      return absl::DataLossError(
          absl::StrCat("committed: ", ::testing::PrintToString(committed_),
                       ", found: ", ::testing::PrintToString(found)));
    }
    TANDEM_RETURN_IF_ERROR(CheckValues());
    if (const int seen = app_.crashes_seen() + node_.crashes_seen();
        seen != static_cast<int>(crashes_.size())) {
      return absl::InternalError(absl::StrCat(
          seen, " crashes were seen of ", static_cast<int>(crashes_.size())));
    }
    return outcome;
  }

  absl::Status CheckValues() {
    for (const auto& [key, value] :
         {std::pair("a", "4"), {"b", "2"}, {"c", "3"}, {"d", "5"}}) {
      TANDEM_ASSIGN_OR_RETURN(const std::string found, pair_.Get(key));
      if (found != value) {
        return absl::DataLossError(absl::StrCat(key, " is ", found));
      }
    }
    return absl::OkStatus();
  }

  // All but times, and what the new key of each chain signs.
  static std::string ToLine(const node::v1::CommittedBlock& block) {
    const auto power = [](const node::v1::Vote& vote) {
      return absl::StrCat(vote.power(), "/", static_cast<int>(vote.flag()));
    };
    std::vector<std::string> votes;
    for (const auto& vote : block.block().last_commit().votes()) {
      votes.push_back(power(vote));
    }
    std::vector<std::string> codes;
    for (const auto& result : block.results()) {
      codes.push_back(absl::StrCat(result.code()));
    }
    return absl::StrCat(
        block.block().header().height(), " [",
        absl::StrJoin(block.block().txs(), ", "), "] codes ",
        absl::StrJoin(codes, ","), " votes ", absl::StrJoin(votes, ","),
        " app hash ", absl::BytesToHexString(block.block().header().app_hash()),
        " then ", absl::BytesToHexString(block.app_hash()));
  }

  const std::vector<Crash> crashes_;
  const absl::Time limit_ = absl::Now() + kGenerous;
  const rpc::testing::TempDir dir_;
  Pair pair_;
  Half app_;
  Half node_;
  PatientClient client_;
  std::map<std::string, std::int64_t> committed_;
};

// The passes of a point that are worth a crash, of so many.
std::set<int> Chosen(int passes) {
  std::set<int> chosen;
  for (int pass = 1; pass <= passes; ++pass) {
    if (pass <= 2 || pass == passes || IsLong()) chosen.insert(pass);
  }
  return chosen;
}

// The crashes in that run of the program, of which this is the trace.
std::vector<Crash> CrashesIn(Program program, int launch, const Trace& trace) {
  std::vector<Crash> crashes;
  for (const std::string& point : std::set(trace.begin(), trace.end())) {
    for (const int pass : Chosen(Passes(trace, point))) {
      crashes.push_back({program, launch, point, pass});
    }
  }
  return crashes;
}

// Runs the scenario with `before` and each of `crashes`; each must end as the
// control run did.
void Walk(const std::vector<Crash>& before, const std::vector<Crash>& crashes,
          const Outcome& control) {
  for (const Crash& crash : crashes) {
    std::vector<Crash> all = before;
    all.push_back(crash);
    SCOPED_TRACE(
        absl::StrJoin(all, ", then ", [](std::string* out, const Crash& one) {
          out->append(one.ToString());
        }));
    const auto outcome = Scenario(all).Run();
    ASSERT_THAT(outcome, IsOk());
    ASSERT_EQ(outcome->chain, control.chain);
  }
}

// The crashes to recover from in RecoveryTest, one for each row of the table in
// node/README.md. The second block is the first with a transaction.
const std::vector<Crash> kFirstCrashes = {
    {kNode, 0, "node/init-chain-answered", 1},
    {kNode, 0, "node/block-saved", 2},
    {kNode, 0, "node/response-saved", 2},
    {kNode, 0, "node/commit-answered", 2},
    {kApp, 0, "kvstore/commit-written", 2},
};

class FailPointsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto control = Scenario({}).Run();
    ASSERT_THAT(control, IsOk());
    control_ = *std::move(control);
    ASSERT_EQ(control_.chain.size(), 7u);
  }

  // Crashes in every run of the program that the scenario has.
  void WalkProgram(Program program) {
    for (const auto& [run, trace] : control_.traces) {
      if (run.first != program) continue;
      Walk({}, CrashesIn(program, run.second, trace), control_);
      if (HasFatalFailure()) return;
    }
  }

  Outcome control_;
};

TEST_F(FailPointsTest, ACrashOfTheAppLosesNothing) { WalkProgram(kApp); }

TEST_F(FailPointsTest, ACrashOfTheNodeLosesNothing) { WalkProgram(kNode); }

class RecoveryTest : public FailPointsTest,
                     public ::testing::WithParamInterface<std::size_t> {};

// The program that has crashed crashes once more, while it recovers.
TEST_P(RecoveryTest, ACrashDuringRecoveryLosesNothing) {
  const Crash& first = kFirstCrashes[GetParam()];
  auto once = Scenario({first}).Run();
  ASSERT_THAT(once, IsOk());
  Trace trace = once->traces[{first.program, 1}];
  // What comes after the block that was begun is no recovery any more.
  const auto end =
      std::find_if(trace.begin(), trace.end(), [](const std::string& point) {
        return point == "node/block-proposed" ||
               point == "kvstore/commit-written";
      });
  if (!IsLong() && end != trace.end()) trace.erase(end + 1, trace.end());
  Walk({first}, CrashesIn(first.program, 1, trace), control_);
}

// "NodeBlockSaved"
std::string NameOf(const ::testing::TestParamInfo<std::size_t>& first) {
  std::string name;
  bool starts_word = true;
  for (const char c : kFirstCrashes[first.param].point) {
    if (std::isalpha(c)) name.push_back(starts_word ? std::toupper(c) : c);
    starts_word = !std::isalpha(c);
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(From, RecoveryTest,
                         ::testing::Range<std::size_t>(0, kFirstCrashes.size()),
                         NameOf);

// The names in FailPoint("...") in the sources of the programs.
std::set<std::string> PointsInSources() {
  namespace fs = std::filesystem;
  constexpr std::string_view kCall = "FailPoint(\"";
  std::set<std::string> names;
  for (const char* room : {"/rpc", "/node", "/app"}) {
    for (const auto& file :
         fs::recursive_directory_iterator(std::string(TANDEM_ROOT) + room)) {
      if (file.path().extension() != ".cc") continue;
      const std::string text = rpc::ReadFile(file.path()).value_or("");
      for (std::size_t at = text.find(kCall); at != std::string::npos;
           at = text.find(kCall, at)) {
        at += kCall.size();
        names.insert(text.substr(at, text.find('"', at) - at));
      }
    }
  }
  return names;
}

TEST_F(FailPointsTest, NoPointIsLeftOut) {
  std::set<std::string> passed;
  const auto add = [&passed](const Outcome& outcome) {
    for (const auto& [run, trace] : outcome.traces) {
      passed.insert(trace.begin(), trace.end());
    }
  };
  add(control_);
  for (const Crash& first : kFirstCrashes) {
    const auto once = Scenario({first}).Run();
    ASSERT_THAT(once, IsOk());
    add(*once);
  }
  EXPECT_EQ(passed, PointsInSources());
  EXPECT_GT(passed.size(), 20u);
}

}  // namespace
}  // namespace tandem

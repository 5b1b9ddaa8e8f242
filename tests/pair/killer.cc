// Kills, stops and restarts both programs at random while clients submit
// transactions and watch blocks; then checks that what they were told is so.
//
//   pair_killer --rounds 20             ends with status 0 if nothing was lost
//   pair_killer --seconds 1800 --seed 7 the same acts, in the same order and at
//                                       the same distances, as whenever it ran
//                                       with that seed
//
// Over the wire of wire.h.

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rpc/base/status_macros.h"
#include "rpc/client/channel.h"
#include "rpc/testing/process_pair.h"
#include "tendermint/abci/types.tandem.h"
#include "tests/pair/ledger.h"
#include "tests/pair/pair.h"
#include "tests/pair/patient_client.h"

namespace tandem {
namespace {

using node::v1::AppStatus;
using rpc::testing::ProcessPair;
using Random = std::mt19937_64;

constexpr absl::Duration kGenerous = absl::Minutes(1);
constexpr std::size_t kSampledValues = 500;
// An application loses its data only while there are not more blocks to replay.
constexpr std::int64_t kMostReplayed = 5000;

struct Arguments {
  int rounds = 20;
  int seconds = 0;
  int clients = 8;
  std::uint64_t seed = std::random_device()();
};

// From 0 on, below `end`.
int Below(int end, Random& random) {
  return std::uniform_int_distribution<int>(0, end - 1)(random);
}

// Submits transactions of its own, one after the other, until it is told to
// stop; then the last is settled.
class Submitter {
 public:
  // All give up at `limit` (Unix milliseconds), and say so.
  Submitter(int number, rpc::Channel& node, std::uint64_t seed,
            const std::atomic<std::int64_t>& limit, Ledger& ledger)
      : name_(absl::StrCat("c", number)),
        random_(seed + static_cast<std::uint64_t>(number)),
        limit_(limit),
        ledger_(ledger),
        client_(node, [this] { return CheckPatience(); }),
        thread_([this] { Run(); }) {}
  ~Submitter() { Stop(); }

  void Stop() {
    is_over_ = true;
    if (thread_.joinable()) thread_.join();
  }

 private:
  void Run() {
    for (int i = 0; !is_over_; ++i) {
      const bool is_bad = Below(20, random_) == 0;
      const std::string tx = absl::StrCat(name_, "-", i, is_bad ? "" : "=", i);
      if (!Settle(tx, is_bad)) return;
      if (!is_bad) last_[i % std::size(last_)] = tx;
      // What is committed is not committed once more.
      const std::string& old = last_[Below(std::size(last_), random_)];
      if (Below(5, random_) == 0 && !old.empty() && !Settle(old, false)) return;
    }
  }

  bool Settle(const std::string& tx, bool is_bad) {
    const auto fate = client_.Settle(tx);
    if (!fate.ok()) {
      ledger_.Complain(absl::StrCat(tx, ": ", fate.status().message()));
    } else if ((fate->height == 0) != is_bad) {
      ledger_.Complain(absl::StrCat(tx, " ended with height ", fate->height));
    } else if (is_bad) {
      ledger_.Refused(tx);
    } else {
      ledger_.Committed(tx, fate->height);
    }
    return fate.ok();
  }

  absl::Status CheckPatience() const {
    if (absl::ToUnixMillis(absl::Now()) < limit_) return absl::OkStatus();
    return absl::DeadlineExceededError("nobody says what became of it");
  }

  const std::string name_;
  Random random_;
  const std::atomic<std::int64_t>& limit_;
  Ledger& ledger_;
  std::string last_[16];  // committed
  std::atomic<bool> is_over_ = false;
  PatientClient client_;
  std::thread thread_;
};

// Watches all blocks from the first on, over many streams, until it has seen
// that of Finish().
class Subscriber {
 public:
  Subscriber(std::string name, rpc::Channel& node, Ledger& ledger)
      : name_(std::move(name)),
        node_(node),
        ledger_(ledger),
        thread_([this] { Run(); }) {}
  ~Subscriber() { Finish(0); }

  // Waits until the block of that height was seen; returns the blocks' hashes.
  std::vector<std::string> Finish(std::int64_t height) {
    last_ = height;
    if (thread_.joinable()) thread_.join();
    return chain_.hashes();
  }

 private:
  void Run() {
    while (chain_.next() <= last_) {
      node::v1::SubscribeRequest request;
      request.set_from_height(chain_.next());
      // Ends idle streams, which may be one too many.
      auto blocks = node_.Subscribe(request, {.timeout = absl::Seconds(3)});
      node::v1::CommittedBlock block;
      while (chain_.next() <= last_ && blocks.Read(&block)) {
        const absl::Status read = chain_.Read(block);
        if (read.ok()) continue;
        return ledger_.Complain(absl::StrCat(name_, ": ", read.message()));
      }
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

  const std::string name_;
  node::v1::NodeClient node_;
  Ledger& ledger_;
  std::atomic<std::int64_t> last_ = INT64_MAX;
  ChainReader chain_;
  std::thread thread_;
};

// What happens to the pair in one round.
struct Act {
  enum Kind {
    kKill,  // SIGKILL
    kLose,  // the same, and its data directory is gone
    kStop,  // SIGSTOP
    kEnd,   // SIGTERM
  };
  Kind kind;
  bool to_app;
  bool to_node;
  absl::Duration before = absl::ZeroDuration();
  absl::Duration pause = absl::ZeroDuration();  // until it is put right
  bool is_healed = false;  // the next act comes only when blocks are made again
};

Act Draw(Random& random) {
  constexpr struct {
    int weight;
    Act::Kind kind;
    bool to_app;
    bool to_node;
  } kActs[] = {
      {4, Act::kKill, true, false}, {4, Act::kKill, false, true},
      {2, Act::kKill, true, true},  {2, Act::kStop, true, false},
      {2, Act::kStop, false, true}, {1, Act::kStop, true, true},
      {1, Act::kEnd, true, false},  {1, Act::kEnd, false, true},
      {1, Act::kLose, true, false},
  };
  int sum = 0;
  for (const auto& one : kActs) sum += one.weight;
  int rest = Below(sum, random);
  const auto* drawn = &kActs[0];
  for (; rest >= drawn->weight; ++drawn) rest -= drawn->weight;
  Act act = {drawn->kind, drawn->to_app, drawn->to_node};
  act.before = absl::Milliseconds(Below(400, random));
  act.pause = absl::Milliseconds(Below(150, random));
  if (Below(20, random) == 0) act.pause += absl::Seconds(1);
  act.is_healed = Below(3, random) > 0;
  return act;
}

class Killer {
 public:
  explicit Killer(const Arguments& arguments)
      : arguments_(arguments), random_(arguments.seed) {}

  // Errors: the pair does not heal. What else is wrong is in the ledger.
  absl::Status Run();

  Ledger& ledger() { return ledger_; }
  Pair& pair() { return pair_; }
  std::string Summary() const;
  // What the programs said last.
  std::string Logs();

 private:
  // Ends with the first complaint.
  absl::Status DoRounds();
  absl::Status DoRound(const Act& act);
  absl::Status Do(Act::Kind kind, ProcessPair& half, int& kills);
  // Starts what has ended. Errors: it cannot be started.
  absl::Status PutRight();
  // Waits until blocks are made again.
  absl::Status AwaitHealed();
  absl::Status CheckState();
  void End(ProcessPair& half);

  const Arguments arguments_;
  Random random_;
  Pair pair_;
  Ledger ledger_;
  int rounds_ = 0;
  int kills_of_app_ = 0;
  int kills_of_node_ = 0;
  int stops_ = 0;
  int losses_of_data_ = 0;
  std::int64_t height_ = 0;
};

absl::Status Killer::Run() {
  TANDEM_RETURN_IF_ERROR(pair_.Start());
  std::vector<std::unique_ptr<rpc::Channel>> channels;
  const auto connect = [&]() -> rpc::Channel& {
    channels.push_back(*rpc::Channel::Connect(pair_.node().address()));
    return *channels.back();
  };
  std::atomic<std::int64_t> limit = INT64_MAX;
  std::vector<std::unique_ptr<Submitter>> submitters;
  for (int i = 0; i < arguments_.clients; ++i) {
    submitters.push_back(std::make_unique<Submitter>(
        i, connect(), arguments_.seed, limit, ledger_));
  }
  Subscriber one("subscriber 1", connect(), ledger_);
  Subscriber two("subscriber 2", connect(), ledger_);
  const absl::Status rounds = DoRounds();
  limit = absl::ToUnixMillis(absl::Now() +
                             (rounds.ok() ? kGenerous : absl::ZeroDuration()));
  for (const auto& submitter : submitters) submitter->Stop();
  TANDEM_RETURN_IF_ERROR(rounds);
  TANDEM_ASSIGN_OR_RETURN(const auto status, pair_.Status());
  height_ = status.height();
  const std::vector<std::string> chain = ledger_.Audit(pair_.client(), height_);
  for (Subscriber* subscriber : {&one, &two}) {
    if (subscriber->Finish(height_) != chain) {
      ledger_.Complain("a subscriber saw another chain than the audit");
    }
  }
  return CheckState();
}

absl::Status Killer::DoRounds() {
  const absl::Time end = absl::Now() + absl::Seconds(arguments_.seconds);
  while (arguments_.seconds > 0 ? absl::Now() < end
                                : rounds_ < arguments_.rounds) {
    TANDEM_RETURN_IF_ERROR(DoRound(Draw(random_)));
    if (!ledger_.complaints().empty()) break;
    if (rounds_ % 100 == 0) std::printf("%s\n", Summary().c_str());
  }
  return AwaitHealed();
}

absl::Status Killer::DoRound(const Act& act) {
  absl::SleepFor(act.before);
  if (!pair_.app().is_running() || !pair_.node().is_running()) {
    return absl::InternalError("a program ended by itself");
  }
  if (act.to_app) {
    TANDEM_RETURN_IF_ERROR(Do(act.kind, pair_.app(), kills_of_app_));
  }
  if (act.to_node) {
    TANDEM_RETURN_IF_ERROR(Do(act.kind, pair_.node(), kills_of_node_));
  }
  absl::SleepFor(act.pause);
  TANDEM_RETURN_IF_ERROR(PutRight());
  ++rounds_;
  return act.is_healed ? AwaitHealed() : absl::OkStatus();
}

absl::Status Killer::Do(Act::Kind kind, ProcessPair& half, int& kills) {
  switch (kind) {
    case Act::kKill:
      ++kills;
      half.Kill();
      break;
    case Act::kLose:
      ++kills;
      half.Kill();
      // Only what is replayed soon.
      if (height_ < kMostReplayed) {
        ++losses_of_data_;
        pair_.AllowOlderState();
        std::filesystem::remove_all(half.directory() + "/app");
      }
      break;
    case Act::kStop:
      ++stops_;
      return half.Suspend();
    case Act::kEnd:
      End(half);
      break;
  }
  return absl::OkStatus();
}

void Killer::End(ProcessPair& half) {
  // Before, SIGTERM ends it as it ends any program.
  const absl::Status is_ready = half.WaitReady();
  const absl::StatusOr<int> end = is_ready.ok() ? half.Terminate() : is_ready;
  if (end.ok() && *end == 0) return;
  ledger_.Complain(absl::StrCat(
      half.directory(), ": was asked to stop and ended with ",
      end.ok() ? absl::StrCat(*end) : std::string(end.status().message())));
}

absl::Status Killer::PutRight() {
  for (ProcessPair* half : {&pair_.app(), &pair_.node()}) {
    if (half->is_running()) {
      TANDEM_RETURN_IF_ERROR(half->Resume());
    } else {
      TANDEM_RETURN_IF_ERROR(half->Launch());
    }
  }
  return absl::OkStatus();
}

absl::Status Killer::AwaitHealed() {
  const absl::Time limit = absl::Now() + kGenerous;
  while (true) {
    const auto status = pair_.Status();
    if (status.ok()) height_ = status->height();
    if (status.ok() && status->app().state() == AppStatus::RUNNING) {
      return absl::OkStatus();
    }
    if (absl::Now() > limit) {
      return absl::DeadlineExceededError(
          absl::StrCat("the pair does not heal: ",
                       status.ok() ? status->app().DebugString()
                                   : std::string(status.status().message())));
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
}

absl::Status Killer::CheckState() {
  for (const std::string& tx : ledger_.Sample(kSampledValues)) {
    const std::size_t end = tx.find('=');
    TANDEM_ASSIGN_OR_RETURN(const auto value, pair_.Get(tx.substr(0, end)));
    if (value == tx.substr(end + 1)) continue;
    ledger_.Complain(absl::StrCat("LOST: the app has \"", value, "\" of ", tx));
  }
  TANDEM_ASSIGN_OR_RETURN(const auto status, pair_.Status());
  tendermint::abci::ABCIClient app(pair_.app().channel());
  TANDEM_ASSIGN_OR_RETURN(const auto info, app.Info({}));
  if (info.last_block_height() != status.height() ||
      info.last_block_app_hash() != status.app_hash()) {
    ledger_.Complain(absl::StrCat("the node is at height ", status.height(),
                                  ", the app at ", info.last_block_height(),
                                  ", or their app hashes differ"));
  }
  return absl::OkStatus();
}

std::string Killer::Summary() const {
  return absl::StrCat("seed ", arguments_.seed, ": ", rounds_,
                      " rounds, the app killed ", kills_of_app_, " times (",
                      losses_of_data_, " with the loss of its data), the node ",
                      kills_of_node_, ", ", stops_, " times one stopped; ",
                      ledger_.committed(), " transactions acknowledged, ",
                      ledger_.refused(), " refused, ", height_, " blocks, ",
                      ledger_.complaints().size(), " complaints");
}

std::string Killer::Logs() {
  const auto end = [](const std::string& log) {
    constexpr std::size_t kLast = 4000;
    return log.substr(log.size() > kLast ? log.size() - kLast : 0);
  };
  return absl::StrCat("--- the app:\n", end(pair_.app().Log()),
                      "--- the node:\n", end(pair_.node().Log()));
}

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App program("Kills a pair at random, and looks for what is lost.");
  program.add_option("--rounds", arguments.rounds)->capture_default_str();
  program.add_option("--seconds", arguments.seconds, "Instead of rounds");
  program.add_option("--clients", arguments.clients)->capture_default_str();
  program.add_option("--seed", arguments.seed, "Default: a random one");
  CLI11_PARSE(program, argc, argv);
  ::setlinebuf(stdout);
  std::printf("seed %s\n", absl::StrCat(arguments.seed).c_str());
  Killer killer(arguments);
  const absl::Status run = killer.Run();
  if (!run.ok()) killer.ledger().Complain(std::string(run.message()));
  for (const std::string& what : killer.pair().Violations()) {
    killer.ledger().Complain(what);
  }
  const auto complaints = killer.ledger().complaints();
  for (const std::string& what : complaints) std::printf("%s\n", what.c_str());
  std::printf("%s\n", killer.Summary().c_str());
  if (!complaints.empty()) std::printf("%s", killer.Logs().c_str());
  return complaints.empty() ? 0 : 1;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) { return tandem::Main(argc, argv); }

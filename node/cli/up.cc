#include "node/cli/up.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "node/cli/node_option.h"
#include "rpc/base/status_macros.h"
#include "rpc/server/notify.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem::node {
namespace {

// How often a node that starts is asked whether it is ready.
constexpr absl::Duration kAskAgain = absl::Milliseconds(20);
// After that, say what is waited for.
constexpr absl::Duration kQuietStart = absl::Seconds(2);
// What a child has to stop by itself.
constexpr absl::Duration kStopTimeout = absl::Seconds(15);

// The exit status of a node whose application's state is not its chain's
// (proto/PROTOCOL.md): both can only be stopped.
constexpr int kConflict = 3;

constexpr char kMore[] =
    R"(Starts tandem-kvstore and tandem-node, says where they listen when they
are ready, and stops both on Ctrl-C. The other commands find them by the
same --data.

One that dies is started again: at once, and when it dies again within 10
seconds, after 100 ms, 200 ms and 400 ms. After the fifth time, or when
the node says that its application's state is of another chain or ahead of
it, both are stopped, and the exit status is 1.

With --json, there is an object for each event:
  {"event":"ready","data":DIR,"app":{"address":ADDR,"pid":PID},
   "node":{"address":ADDR,"pid":PID}}  both, also when they are again
  {"event":"ended","program":"app" or "node","pid":PID,"how":TEXT,
   "exit_status":N or null,"again_after_seconds":SECONDS or null}
  {"event":"restarted","program":"app" or "node","pid":PID}

Example:
  tandem up --data ./tandem-data)";

absl::StatusOr<std::string> ProgramBesideOurs(const std::string& name) {
  std::error_code error;
  const auto ours = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::ErrnoToStatus(error.value(), "/proc/self/exe");
  return (ours.parent_path() / name).string();
}

// SIGINT and SIGTERM, as a descriptor.
absl::StatusOr<rpc::UniqueFd> TakeSignals() {
  sigset_t mask;
  ::sigemptyset(&mask);
  ::sigaddset(&mask, SIGINT);
  ::sigaddset(&mask, SIGTERM);
  if (::sigprocmask(SIG_BLOCK, &mask, nullptr) != 0) {
    return absl::ErrnoToStatus(errno, "sigprocmask");
  }
  rpc::UniqueFd fd(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.is_valid()) return absl::ErrnoToStatus(errno, "signalfd");
  return fd;
}

}  // namespace

UpCommand::UpCommand(CLI::App& program)
    : Command(program.add_subcommand(
          "up", "Run an application and a node, together")) {
  app().footer(kMore);
  AddDataOption(app(), data_);
  app()
      .add_option("--genesis", genesis_,
                  "CometBFT genesis.json of a new chain (default: one is made)")
      ->type_name("FILE");
  app()
      .add_option("--validator-key", validator_key_,
                  "CometBFT priv_validator_key.json (default: one is made)")
      ->type_name("FILE");
  app()
      .add_option("--start-timeout", start_seconds_,
                  "How long both may take to be ready, in seconds")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  app()
      .add_option("--record", record_,
                  "Append each call of the application, and its answer, to "
                  "FILE: for `tandem trace`")
      ->type_name("FILE");
  AddSharedDirectoryOption(app(), allow_shared_directory_);
  app().add_flag("--no-restart", is_restart_off_,
                 "When one ends by itself, stop the other and fail");
  app().add_flag("--json", is_json_, "Say what happens as objects");
}

absl::StatusOr<int> UpCommand::Run(Output& output) {
  TANDEM_ASSIGN_OR_RETURN(signals_, TakeSignals());
  TANDEM_ASSIGN_OR_RETURN(directory_, PairDirectory::Open(data_));
  TANDEM_RETURN_IF_ERROR(PrepareBoth());
  TANDEM_RETURN_IF_ERROR(Start(app_));
  TANDEM_RETURN_IF_ERROR(Start(node_));
  const absl::Status ended = Supervise(output);
  const absl::Status stopped = StopBoth();
  TANDEM_RETURN_IF_ERROR(ended);
  TANDEM_RETURN_IF_ERROR(stopped);
  return 0;
}

absl::Status UpCommand::PrepareBoth() {
  TANDEM_ASSIGN_OR_RETURN(std::string app, ProgramBesideOurs("tandem-kvstore"));
  TANDEM_ASSIGN_OR_RETURN(std::string node, ProgramBesideOurs("tandem-node"));
  const PairAddresses& addresses = directory_->addresses();
  app_.argv = {app, "--listen", addresses.app, "--data",
               directory_->app_data()};
  node_.argv = {node,           "--app",  addresses.app,          "--listen",
                addresses.node, "--data", directory_->node_data()};
  if (!allow_shared_directory_.empty()) {
    app_.argv.insert(app_.argv.end(),
                     {"--allow-shared-directory", allow_shared_directory_});
    node_.argv.insert(
        node_.argv.end(),
        {"--allow-shared-directory", allow_shared_directory_,
         "--app-allow-shared-directory", allow_shared_directory_});
  }
  if (!genesis_.empty()) {
    node_.argv.insert(node_.argv.end(), {"--genesis", genesis_});
  }
  if (!validator_key_.empty()) {
    node_.argv.insert(node_.argv.end(), {"--validator-key", validator_key_});
  }
  if (!record_.empty()) {
    node_.argv.insert(node_.argv.end(), {"--record", record_});
  }
  return absl::OkStatus();
}

absl::Status UpCommand::Start(Program& program) {
  TANDEM_ASSIGN_OR_RETURN(program.process, ChildProcess::Start(program.argv));
  program.started = absl::Now();
  return absl::OkStatus();
}

absl::Status UpCommand::Supervise(Output& output) {
  deadline_ = absl::Now() + absl::Seconds(start_seconds_);
  TANDEM_RETURN_IF_ERROR(BeginToAsk());
  while (true) {
    absl::Time until = absl::InfiniteFuture();
    for (const Program* program : {&app_, &node_}) {
      if (program->process == nullptr) until = std::min(until, program->due);
    }
    if (channel_ != nullptr && until == absl::InfiniteFuture()) {
      TANDEM_RETURN_IF_ERROR(Ask(output));
      if (channel_ != nullptr) until = absl::Now() + kAskAgain;
    }
    if (WaitSignal(until)) return absl::OkStatus();
    TANDEM_RETURN_IF_ERROR(Mend(app_, output));
    TANDEM_RETURN_IF_ERROR(Mend(node_, output));
  }
}

bool UpCommand::WaitSignal(absl::Time until) const {
  // poll() passes over a descriptor of -1.
  const auto pidfd = [](const Program& program) {
    return program.process == nullptr ? -1 : program.process->pidfd();
  };
  pollfd fds[] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                  {.fd = pidfd(app_), .events = POLLIN, .revents = 0},
                  {.fd = pidfd(node_), .events = POLLIN, .revents = 0}};
  while (true) {
    const auto left = std::clamp<std::int64_t>(
        absl::ToInt64Milliseconds(
            absl::Ceil(until - absl::Now(), absl::Milliseconds(1))),
        0, 60'000);
    if (::poll(fds, 3, static_cast<int>(left)) > 0) break;
    if (absl::Now() >= until) return false;
  }
  signalfd_siginfo taken;
  return ::read(signals_.get(), &taken, sizeof taken) > 0;
}

absl::Status UpCommand::Mend(Program& program, Output& output) {
  if (program.process != nullptr) {
    if (!program.process->WaitEnded(absl::ZeroDuration())) {
      return absl::OkStatus();
    }
    TANDEM_RETURN_IF_ERROR(NoteEnd(program, output));
  }
  if (absl::Now() < program.due) return absl::OkStatus();
  return StartAgain(program, output);
}

absl::Status UpCommand::NoteEnd(Program& program, Output& output) {
  const absl::StatusOr<absl::Duration> pause = PauseAfterEnd(program);
  const ChildProcess& process = *program.process;
  nlohmann::ordered_json event{
      {"event", "ended"},       {"program", program.role},
      {"pid", process.pid()},   {"how", process.ending()},
      {"exit_status", nullptr}, {"again_after_seconds", nullptr}};
  if (process.exit_status()) event["exit_status"] = *process.exit_status();
  if (pause.ok()) event["again_after_seconds"] = absl::ToDoubleSeconds(*pause);
  TANDEM_RETURN_IF_ERROR(SayEvent(event, output));
  TANDEM_RETURN_IF_ERROR(pause.status());
  absl::FPrintF(stderr, "tandem: %s %s; starting it again %s\n", process.name(),
                process.ending(),
                *pause == absl::ZeroDuration()
                    ? "at once"
                    : "in " + absl::FormatDuration(*pause));
  program.process = nullptr;
  program.due = absl::Now() + *pause;
  return BeginToAsk();
}

absl::StatusOr<absl::Duration> UpCommand::PauseAfterEnd(
    Program& program) const {
  const ChildProcess& process = *program.process;
  const std::string how = absl::StrCat(process.name(), " ", process.ending());
  constexpr char kSeeAbove[] =
      "; what it wrote above says why. The other one is stopped too";
  if (&program == &node_ && process.exit_status() == kConflict) {
    return absl::FailedPreconditionError(absl::StrCat(
        how,
        ": the application's state is not that of its chain, and no restart "
        "mends that. What it wrote above says what differs, and what to do. "
        "The other one is stopped too"));
  }
  if (is_restart_off_ || (!was_ready_ && process.exit_status())) {
    return absl::AbortedError(how + kSeeAbove);
  }
  const std::optional<absl::Duration> pause =
      program.restarts.Ended(absl::Now() - program.started);
  if (pause) return *pause;
  return absl::AbortedError(absl::StrCat(
      how, ", and so often so soon (", RestartPolicy::kMostInARow,
      " times in a row within ", absl::FormatDuration(RestartPolicy::kRanWell),
      " of its start) that it is given up", kSeeAbove));
}

absl::Status UpCommand::StartAgain(Program& program, Output& output) {
  TANDEM_RETURN_IF_ERROR(Start(program));
  absl::FPrintF(stderr, "tandem: started %s again\n", program.process->name());
  return SayEvent({{"event", "restarted"},
                   {"program", program.role},
                   {"pid", program.process->pid()}},
                  output);
}

absl::Status UpCommand::BeginToAsk() {
  asked_since_ = absl::Now();
  said_reason_.clear();
  TANDEM_ASSIGN_OR_RETURN(
      channel_, rpc::Channel::Connect(
                    directory_->addresses().node,
                    {.allow_shared_directory = allow_shared_directory_}));
  return absl::OkStatus();
}

absl::Status UpCommand::Ask(Output& output) {
  const auto status =
      v1::NodeClient(*channel_).Status({}, {.timeout = absl::Seconds(1)});
  std::string reason(status.status().message());
  if (status.ok()) {
    const v1::AppStatus& app = status->app();
    // The node may not have noticed yet that the one before has ended.
    const bool is_ours = app.pid() == app_.process->pid();
    if (app.state() == v1::AppStatus::RUNNING && is_ours) {
      channel_ = nullptr;
      return SayReady(output);
    }
    reason = app.reason();
    if (app.state() == v1::AppStatus::STOPPED) {
      reason = absl::StrCat("the node makes no blocks: ", reason);
      if (!was_ready_) return absl::FailedPreconditionError(reason);
    }
  }
  const absl::Time now = absl::Now();
  if (!was_ready_ && now >= deadline_) {
    return absl::DeadlineExceededError(
        absl::StrCat("not ready after ", start_seconds_, " seconds: ", reason));
  }
  if (now >= asked_since_ + kQuietStart && reason != said_reason_) {
    absl::FPrintF(stderr, "waiting: %s\n", reason);
    said_reason_ = reason;
  }
  return absl::OkStatus();
}

absl::Status UpCommand::SayReady(Output& output) {
  const PairAddresses& addresses = directory_->addresses();
  const pid_t app = app_.process->pid();
  const pid_t node = node_.process->pid();
  const absl::Status said =
      is_json_
          ? SayEvent({{"event", "ready"},
                      {"data", directory_->path()},
                      {"app", {{"address", addresses.app}, {"pid", app}}},
                      {"node", {{"address", addresses.node}, {"pid", node}}}},
                     output)
          : Say(absl::StrFormat("app   %s  pid %d\nnode  %s  pid %d\nReady%s, "
                                "with data in %s. Ctrl-C stops both.",
                                addresses.app, app, addresses.node, node,
                                was_ready_ ? " again" : "", directory_->path()),
                output);
  TANDEM_RETURN_IF_ERROR(said);
  was_ready_ = true;
  rpc::NotifyReady(absl::StrCat("application and node run, with data in ",
                                directory_->path()));
  return absl::OkStatus();
}

absl::Status UpCommand::SayEvent(const nlohmann::ordered_json& event,
                                 Output& output) const {
  return is_json_ ? Say(OneLine(event), output) : absl::OkStatus();
}

absl::Status UpCommand::Say(std::string_view text, Output& output) const {
  absl::Status said = output.Line(text);
  if (said.ok()) said = output.Flush();
  // Whoever has read that both are ready may leave, and they go on.
  return was_ready_ ? absl::OkStatus() : said;
}

absl::Status UpCommand::StopBoth() {
  rpc::NotifyStopping();
  // The node first: it finishes what is in flight, which needs the application.
  const absl::Status node = Stop(node_);
  const absl::Status app = Stop(app_);
  TANDEM_RETURN_IF_ERROR(node);
  return app;
}

absl::Status UpCommand::Stop(Program& program) const {
  if (program.process == nullptr) return absl::OkStatus();
  ChildProcess& child = *program.process;
  child.Signal(SIGTERM);
  const absl::Time deadline = absl::Now() + kStopTimeout;
  while (!child.WaitEnded(kAskAgain)) {
    signalfd_siginfo taken;
    const bool again = ::read(signals_.get(), &taken, sizeof taken) > 0;
    if (!again && absl::Now() < deadline) continue;
    child.Signal(SIGKILL);
    child.WaitEnded(kStopTimeout);
    return absl::AbortedError(absl::StrCat(
        child.name(), again ? " was killed by a second signal"
                            : " did not stop in time and was killed"));
  }
  if (child.exit_status() == 0) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat(child.name(), " ", child.ending(), " when told to stop"));
}

}  // namespace tandem::node

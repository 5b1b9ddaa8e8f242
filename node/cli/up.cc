#include "node/cli/up.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "node/cli/json.h"
#include "node/cli/node_option.h"
#include "rpc/base/status_macros.h"
#include "rpc/client/channel.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem::node {
namespace {

// How often a node that starts is asked whether it is ready.
constexpr absl::Duration kAskAgain = absl::Milliseconds(20);
// After that, say what is waited for.
constexpr absl::Duration kQuietStart = absl::Seconds(2);
// What a child has to stop by itself.
constexpr absl::Duration kStopTimeout = absl::Seconds(15);

constexpr char kMore[] =
    "Starts tandem-kvstore and tandem-node, says where they listen when they\n"
    "are ready, and stops both on Ctrl-C. The other commands find them by the\n"
    "same --data.\n\n"
    "Example:\n"
    "  tandem up --data ./tandem-data";

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
  AddSharedDirectoryOption(app(), allow_shared_directory_);
  app().add_flag("--json", is_json_, "Say that they are ready as an object");
}

absl::StatusOr<int> UpCommand::Run(Output& output) {
  TANDEM_ASSIGN_OR_RETURN(signals_, TakeSignals());
  TANDEM_ASSIGN_OR_RETURN(directory_, PairDirectory::Open(data_));
  TANDEM_RETURN_IF_ERROR(StartBoth());
  absl::StatusOr<Event> event = WaitReady();
  if (event.ok() && *event == Event::kTimeout) {
    if (absl::Status said = SayReady(output); !said.ok()) {
      event = said;
    } else {
      event = WaitEvent(absl::InfiniteDuration());
    }
  }
  absl::Status ended = event.status();
  if (event.ok() && *event == Event::kEnded) ended = WhoEnded();
  const absl::Status stopped = StopBoth();
  TANDEM_RETURN_IF_ERROR(ended);
  TANDEM_RETURN_IF_ERROR(stopped);
  return 0;
}

absl::Status UpCommand::StartBoth() {
  TANDEM_ASSIGN_OR_RETURN(std::string app, ProgramBesideOurs("tandem-kvstore"));
  TANDEM_ASSIGN_OR_RETURN(std::string node, ProgramBesideOurs("tandem-node"));
  const PairAddresses& addresses = directory_->addresses();
  std::vector<std::string> app_argv{app, "--listen", addresses.app, "--data",
                                    directory_->app_data()};
  std::vector<std::string> argv{
      node,           "--app",  addresses.app,          "--listen",
      addresses.node, "--data", directory_->node_data()};
  if (!allow_shared_directory_.empty()) {
    app_argv.insert(app_argv.end(),
                    {"--allow-shared-directory", allow_shared_directory_});
    argv.insert(argv.end(),
                {"--allow-shared-directory", allow_shared_directory_,
                 "--app-allow-shared-directory", allow_shared_directory_});
  }
  if (!genesis_.empty()) argv.insert(argv.end(), {"--genesis", genesis_});
  if (!validator_key_.empty()) {
    argv.insert(argv.end(), {"--validator-key", validator_key_});
  }
  TANDEM_ASSIGN_OR_RETURN(app_, ChildProcess::Start(std::move(app_argv)));
  TANDEM_ASSIGN_OR_RETURN(node_, ChildProcess::Start(std::move(argv)));
  return absl::OkStatus();
}

absl::StatusOr<UpCommand::Event> UpCommand::WaitReady() {
  TANDEM_ASSIGN_OR_RETURN(
      auto channel, rpc::Channel::Connect(
                        directory_->addresses().node,
                        {.allow_shared_directory = allow_shared_directory_}));
  v1::NodeClient client(*channel);
  const absl::Time begin = absl::Now();
  const absl::Time deadline = begin + absl::Seconds(start_seconds_);
  std::string said;
  while (true) {
    const auto status = client.Status({}, {.timeout = absl::Seconds(1)});
    if (status.ok() && status->app().state() == v1::AppStatus::RUNNING) {
      return Event::kTimeout;
    }
    const std::string reason = status.ok()
                                   ? status->app().reason()
                                   : std::string(status.status().message());
    if (status.ok() && status->app().state() == v1::AppStatus::STOPPED) {
      return absl::FailedPreconditionError(
          absl::StrCat("the node makes no blocks: ", reason));
    }
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "not ready after ", start_seconds_, " seconds: ", reason));
    }
    if (absl::Now() >= begin + kQuietStart && reason != said) {
      absl::FPrintF(stderr, "waiting: %s\n", reason);
      said = reason;
    }
    const Event event = WaitEvent(kAskAgain);
    if (event != Event::kTimeout) return event;
  }
}

absl::Status UpCommand::SayReady(Output& output) const {
  const PairAddresses& addresses = directory_->addresses();
  if (is_json_) {
    TANDEM_RETURN_IF_ERROR(output.Line(OneLine(
        {{"data", directory_->path()},
         {"app", {{"address", addresses.app}, {"pid", app_->pid()}}},
         {"node", {{"address", addresses.node}, {"pid", node_->pid()}}}})));
    return output.Flush();
  }
  TANDEM_RETURN_IF_ERROR(
      output.Line(absl::StrFormat("app   %s  pid %d\nnode  %s  pid %d\nReady, "
                                  "with data in %s. Ctrl-C stops "
                                  "both.",
                                  addresses.app, app_->pid(), addresses.node,
                                  node_->pid(), directory_->path())));
  return output.Flush();
}

UpCommand::Event UpCommand::WaitEvent(absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  pollfd fds[] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                  {.fd = app_->pidfd(), .events = POLLIN, .revents = 0},
                  {.fd = node_->pidfd(), .events = POLLIN, .revents = 0}};
  while (true) {
    const auto left = std::clamp<std::int64_t>(
        absl::ToInt64Milliseconds(deadline - absl::Now()), 0, 60'000);
    if (::poll(fds, 3, static_cast<int>(left)) > 0) break;
    if (absl::Now() >= deadline) return Event::kTimeout;
  }
  if (fds[0].revents == 0) return Event::kEnded;
  signalfd_siginfo taken;
  [[maybe_unused]] const ssize_t got =
      ::read(signals_.get(), &taken, sizeof taken);
  return Event::kSignal;
}

absl::Status UpCommand::WhoEnded() {
  for (ChildProcess* child : {app_.get(), node_.get()}) {
    if (!child->WaitEnded(absl::ZeroDuration())) continue;
    return absl::AbortedError(absl::StrCat(
        child->name(), " ", child->ending(),
        "; what it wrote above says why. The other one is stopped too"));
  }
  return absl::InternalError("a child that ended is still there");
}

absl::Status UpCommand::StopBoth() {
  // The node first: it finishes what is in flight, which needs the application.
  const absl::Status node = Stop(*node_);
  const absl::Status app = Stop(*app_);
  TANDEM_RETURN_IF_ERROR(node);
  return app;
}

absl::Status UpCommand::Stop(ChildProcess& child) const {
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
  if (child.ended_well()) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat(child.name(), " ", child.ending(), " when told to stop"));
}

}  // namespace tandem::node

#include "tests/bench/wire/peers.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "rpc/base/file.h"
#include "rpc/base/status_macros.h"
#include "tests/bench/process_meter.h"
#include "tests/bench/wire/endpoint.h"

namespace tandem::bench {
namespace {

using rpc::testing::Process;

constexpr absl::Duration kStart = absl::Minutes(2);
constexpr absl::Duration kStop = absl::Minutes(1);
constexpr std::size_t kShownOfLog = 2000;

// /proc/self/exe would be valgrind, or whatever it runs under.
std::string OwnPath() {
  char path[4096];
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof(path));
  return std::string(path,
                     static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Peers>> Peers::Start(
    const Subject& subject, const PeersOptions& options) {
  auto peers = std::unique_ptr<Peers>(new Peers(subject));
  const std::string socket = peers->dir_.File("s");
  std::string address = "unix:" + socket;
  if (subject.is_tcp) {
    TANDEM_ASSIGN_OR_RETURN(address, FreeTcpAddress());
  }
  const std::string name(subject.name);
  const std::string self = OwnPath();
  TANDEM_ASSIGN_OR_RETURN(
      peers->server_,
      peers->StartOne("server", options.under_server,
                      subject.is_go()
                          ? std::vector<std::string>{options.go_program,
                                                     "serve", name, socket}
                          : std::vector<std::string>{self, "--serve", name,
                                                     "--address", address},
                      options));
  // Clients in Go do not try again.
  const auto is_there = ConnectSoon(address);
  if (!is_there.ok()) {
    return peers->WithLog("server", is_there.status().ToString());
  }
  const std::string control = peers->dir_.File("control");
  TANDEM_ASSIGN_OR_RETURN(const rpc::UniqueFd listener,
                          Listen("unix:" + control));
  TANDEM_ASSIGN_OR_RETURN(
      peers->client_,
      peers->StartOne(
          "client", options.under_client,
          subject.is_go()
              ? std::vector<std::string>{options.go_program, "call", name,
                                         socket, control}
              : std::vector<std::string>{self, "--call", name, "--address",
                                         address, "--control",
                                         "unix:" + control},
          options));
  TANDEM_RETURN_IF_ERROR(peers->AwaitClient(listener.get()));
  return peers;
}

absl::StatusOr<std::unique_ptr<Process>> Peers::StartOne(
    std::string_view whose, const std::vector<std::string>& under,
    std::vector<std::string> command, const PeersOptions& options) {
  std::vector<std::string> all;
  for (const std::string& word : under) {
    all.push_back(absl::StrReplaceAll(word, {{"{}", file(whose)}}));
  }
  std::move(command.begin(), command.end(), std::back_inserter(all));
  std::vector<std::string> environment;
  if (!options.allocation_counter.empty()) {
    environment = {"LD_PRELOAD=" + options.allocation_counter,
                   "TANDEM_ALLOCATIONS=" + file(whose)};
  }
  return Process::Start(
      {.command = std::move(all),
       .log_path = dir_.File(absl::StrCat(std::string(whose), ".log")),
       .environment = std::move(environment)});
}

absl::Status Peers::AwaitClient(int listener) {
  const absl::Time limit = absl::Now() + kStart;
  while (client_->is_running() && absl::Now() < limit) {
    pollfd ready = {listener, POLLIN, 0};
    if (::poll(&ready, 1, 100) <= 0) continue;
    control_.emplace(
        rpc::UniqueFd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)));
    return absl::OkStatus();
  }
  return WithLog("client", "it does not connect");
}

absl::StatusOr<Measured> Peers::Measure(const Cell& cell) {
  Measured measured;
  const MachineTime machine = CpuTimeOfMachine();
  const absl::Duration own = CpuTime(::getpid());
  const absl::Duration client = CpuTime(client_->pid());
  const absl::Duration server = CpuTime(server_->pid());
  const std::int64_t of_client = Allocations("client");
  const std::int64_t of_server = Allocations("server");
  const absl::Time begin = absl::Now();
  TANDEM_RETURN_IF_ERROR(control_->Send(ToJson(cell).dump()));
  const auto line = control_->Receive();
  if (!line.ok()) return WithLog("client", "it has ended");
  measured.client_cpu = CpuTime(client_->pid()) - client;
  measured.server_cpu = CpuTime(server_->pid()) - server;
  measured.client_allocations = Allocations("client") - of_client;
  measured.server_allocations = Allocations("server") - of_server;
  const absl::Duration foreign = CpuTimeOfMachine().busy - machine.busy -
                                 (CpuTime(::getpid()) - own) -
                                 measured.client_cpu - measured.server_cpu;
  measured.foreign =
      std::max(absl::FDivDuration(foreign, absl::Now() - begin), 0.0);
  TANDEM_ASSIGN_OR_RETURN(measured.figures, FiguresFrom(*line));
  return measured;
}

absl::Status Peers::Stop() {
  control_.reset();
  TANDEM_RETURN_IF_ERROR(client_->Wait(kStop).status());
  TANDEM_RETURN_IF_ERROR(server_->Signal(SIGTERM));
  return server_->Wait(kStop).status();
}

std::string Peers::file(std::string_view whose) const {
  return dir_.File(absl::StrCat(std::string(whose), ".counts"));
}

std::int64_t Peers::Allocations(std::string_view whose) const {
  std::int64_t count = 0;
  const auto bytes = rpc::ReadFile(file(whose));
  if (bytes.ok() && bytes->size() >= sizeof(count)) {
    std::memcpy(&count, bytes->data(), sizeof(count));
  }
  return count;
}

absl::Status Peers::WithLog(std::string_view whose,
                            const std::string& why) const {
  const auto log =
      rpc::ReadFile(dir_.File(absl::StrCat(std::string(whose), ".log")));
  std::string shown = log.ok() ? *log : "";
  if (shown.size() > kShownOfLog) shown.erase(0, shown.size() - kShownOfLog);
  return absl::UnavailableError(absl::StrCat("the ", std::string(whose), " of ",
                                             std::string(subject_.name), ": ",
                                             why, "\n", shown));
}

}  // namespace tandem::bench

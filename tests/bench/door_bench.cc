// Measures what the front door and the guard cost: the same gRPC service behind
// gRPC's own listener and behind ours, side by side; then idle connections and
// how fast connections are taken.

#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unique_fd.h"
#include "rpc/server/server.h"
#include "rpc/server/termination.h"
#include "rpc/testing/process.h"
#include "rpc/testing/temp_dir.h"
#include "rpc/wire/grpc/serve_grpc.h"
#include "tests/bench/callgrind.h"
#include "tests/bench/process_meter.h"
#include "tests/bench/wire/echo.grpc.pb.h"

namespace tandem::bench {
namespace {

using rpc::testing::Process;
using rpc::testing::TempDir;
using ::tests::bench::Echo;
using ::tests::bench::Item;

constexpr int kManyConnections = 16'000;

struct Options {
  std::string serve;  // "native" or "door": be that server
  std::string address;
  int calls = 5000;
  int rounds = 5;
  int idle = 8000;
  int connects = 4000;
  bool counts_instructions = false;
};

// The service, as it would be written for gRPC alone.
class EchoService final : public Echo::CallbackService {
 public:
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context,
                                const Item* request, Item* reply) override {
    reply->set_data(request->data());
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

void AllowManyDescriptors() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

absl::Status Serve(const Options& options) {
  TANDEM_ASSIGN_OR_RETURN(const auto termination, rpc::Termination::Create());
  EchoService echo;
  if (options.serve == "native") {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(options.address,
                             grpc::InsecureServerCredentials());
    builder.RegisterService(&echo);
    const auto server = builder.BuildAndStart();
    termination->Wait(absl::InfiniteDuration());
    server->Shutdown(std::chrono::system_clock::now());
    return absl::OkStatus();
  }
  rpc::ServerOptions server_options;
  server_options.address = options.address;
  server_options.grpc_services = {rpc::ServeGrpc<Echo>(echo)};
  server_options.max_connections = kManyConnections;
  server_options.max_connections_per_uid = kManyConnections;
  TANDEM_ASSIGN_OR_RETURN(const auto server,
                          rpc::Server::Start(std::move(server_options)));
  termination->Wait(absl::InfiniteDuration());
  server->Stop(absl::ZeroDuration());
  return absl::OkStatus();
}

// A connected socket that has sent what begins an HTTP/2 connection, and has
// the server's answer.
absl::StatusOr<rpc::UniqueFd> Connect(const std::string& path) {
  rpc::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0) {
    return absl::ErrnoToStatus(errno, "connect");
  }
  // The preface, and an empty SETTINGS frame.
  constexpr std::string_view kHello(
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
  if (::send(fd.get(), kHello.data(), kHello.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(kHello.size())) {
    return absl::ErrnoToStatus(errno, "send");
  }
  char settings[256];
  if (::recv(fd.get(), settings, sizeof(settings), 0) <= 0) {
    return absl::UnavailableError("the server closed the connection");
  }
  return fd;
}

// A server of one kind in a process of its own.
class Subject {
 public:
  static absl::StatusOr<std::unique_ptr<Subject>> Start(
      const std::string& kind, const std::vector<std::string>& under = {}) {
    std::unique_ptr<Subject> subject(new Subject(kind));
    std::vector<std::string> command = under;
    command.insert(command.end(), {"/proc/self/exe", "--serve", kind,
                                   "--address", subject->address()});
    // /proc/self/exe would be valgrind, or whatever it runs under.
    char self[4096];
    const ssize_t size = ::readlink("/proc/self/exe", self, sizeof(self));
    *std::find(command.begin(), command.end(), "/proc/self/exe") =
        std::string(self, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    TANDEM_ASSIGN_OR_RETURN(
        subject->process_,
        Process::Start({.command = command,
                        .log_path = subject->dir_.File("server.log")}));
    const absl::Time limit = absl::Now() + absl::Seconds(60);
    while (!Connect(subject->path()).ok()) {
      if (absl::Now() > limit) {
        return absl::DeadlineExceededError(
            absl::StrCat("the ", kind, " server does not start"));
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
    subject->stub_ = Echo::NewStub(grpc::CreateChannel(
        subject->address(), grpc::InsecureChannelCredentials()));
    return subject;
  }

  // How long each of so many calls took, one after the other.
  absl::StatusOr<std::vector<absl::Duration>> Call(int count) {
    std::vector<absl::Duration> times;
    Item request;
    request.set_data(std::string(64, 'k'));
    for (int i = 0; i < count; ++i) {
      Item reply;
      grpc::ClientContext context;
      const absl::Time begin = absl::Now();
      const grpc::Status status = stub_->Get(&context, request, &reply);
      times.push_back(absl::Now() - begin);
      if (!status.ok()) return absl::UnavailableError(status.error_message());
    }
    return times;
  }

  absl::Status Stop() {
    TANDEM_RETURN_IF_ERROR(process_->Signal(SIGTERM));
    return process_->Wait(absl::Seconds(60)).status();
  }

  const std::string& kind() const { return kind_; }
  std::string path() const { return dir_.File("s"); }
  std::string address() const { return "unix:" + path(); }
  std::string File(std::string_view name) const { return dir_.File(name); }
  pid_t pid() const { return process_->pid(); }

 private:
  explicit Subject(std::string kind) : kind_(std::move(kind)) {}

  const std::string kind_;
  TempDir dir_;
  std::unique_ptr<Process> process_;
  std::unique_ptr<Echo::Stub> stub_;
};

double Micros(absl::Duration time) { return absl::ToDoubleMicroseconds(time); }

absl::Duration Percentile(std::vector<absl::Duration> times, double share) {
  std::sort(times.begin(), times.end());
  return times[static_cast<std::size_t>(share *
                                        static_cast<double>(times.size() - 1))];
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

absl::Status CompareCalls(const Options& options) {
  struct Figures {
    std::vector<double> p50, p99, cpu;
  };
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const char* kind : {"native", "door"}) {
    TANDEM_ASSIGN_OR_RETURN(subjects.emplace_back(), Subject::Start(kind));
    TANDEM_RETURN_IF_ERROR(subjects.back()->Call(500).status());
  }
  std::vector<Figures> figures(subjects.size());
  for (int round = 0; round < options.rounds; ++round) {
    for (std::size_t i = 0; i < subjects.size(); ++i) {
      const absl::Duration before = CpuTime(subjects[i]->pid());
      TANDEM_ASSIGN_OR_RETURN(const auto times,
                              subjects[i]->Call(options.calls));
      const absl::Duration cpu = CpuTime(subjects[i]->pid()) - before;
      figures[i].p50.push_back(Micros(Percentile(times, 0.5)));
      figures[i].p99.push_back(Micros(Percentile(times, 0.99)));
      figures[i].cpu.push_back(Micros(cpu) / options.calls);
    }
  }
  for (std::size_t i = 0; i < subjects.size(); ++i) {
    std::printf(
        "unary call, %-6s  p50 %.1f us, p99 %.1f us, server CPU %.1f us "
        "(medians of %d rounds)\n",
        subjects[i]->kind().c_str(), Median(figures[i].p50),
        Median(figures[i].p99), Median(figures[i].cpu), options.rounds);
  }
  std::printf("unary call, door / native  p50 %.3f, server CPU %.3f\n",
              Median(figures[1].p50) / Median(figures[0].p50),
              Median(figures[1].cpu) / Median(figures[0].cpu));
  return absl::OkStatus();
}

// Instructions that a server of this kind executed for `calls` calls and its
// start and end, as callgrind counts them: user code, all threads.
absl::StatusOr<double> CountInstructions(const std::string& kind, int calls) {
  TempDir dir;
  const std::string out = dir.File("callgrind");
  TANDEM_ASSIGN_OR_RETURN(const auto subject,
                          Subject::Start(kind, UnderCallgrind(out)));
  TANDEM_RETURN_IF_ERROR(subject->Call(calls).status());
  TANDEM_RETURN_IF_ERROR(subject->Stop());
  return InstructionsIn(out);
}

absl::Status CompareInstructions(const Options& options) {
  constexpr int kFew = 500;
  constexpr int kMany = 4500;
  std::vector<double> native;
  std::vector<double> door;
  std::vector<double> ratios;
  for (int round = 0; round < options.rounds; ++round) {
    for (auto* per_call : {&native, &door}) {
      const std::string kind = per_call == &native ? "native" : "door";
      TANDEM_ASSIGN_OR_RETURN(const double few, CountInstructions(kind, kFew));
      TANDEM_ASSIGN_OR_RETURN(const double many,
                              CountInstructions(kind, kMany));
      per_call->push_back((many - few) / (kMany - kFew));
    }
    ratios.push_back(door.back() / native.back());
  }
  std::printf(
      "instructions per unary call, server: native %.0f, door %.0f; door / "
      "native %.3f (%.3f .. %.3f, %d rounds)\n",
      Median(native), Median(door), Median(ratios),
      *std::min_element(ratios.begin(), ratios.end()),
      *std::max_element(ratios.begin(), ratios.end()), options.rounds);
  return absl::OkStatus();
}

absl::Status HoldIdle(const Options& options) {
  TANDEM_ASSIGN_OR_RETURN(const auto subject, Subject::Start("door"));
  TANDEM_RETURN_IF_ERROR(subject->Call(100).status());
  const double before = ResidentBytes(subject->pid());
  std::vector<rpc::UniqueFd> connections;
  for (int i = 0; i < options.idle; ++i) {
    TANDEM_ASSIGN_OR_RETURN(connections.emplace_back(),
                            Connect(subject->path()));
  }
  const double after = ResidentBytes(subject->pid());
  TANDEM_RETURN_IF_ERROR(subject->Call(100).status());
  std::printf("%d idle connections  %.1f KB each\n", options.idle,
              (after - before) / 1000 / options.idle);
  return absl::OkStatus();
}

absl::Status TakeConnections(const Options& options) {
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const char* kind : {"native", "door"}) {
    TANDEM_ASSIGN_OR_RETURN(subjects.emplace_back(), Subject::Start(kind));
  }
  std::vector<std::vector<double>> rates(subjects.size());
  for (int round = 0; round < options.rounds; ++round) {
    for (std::size_t i = 0; i < subjects.size(); ++i) {
      const absl::Time begin = absl::Now();
      for (int n = 0; n < options.connects; ++n) {
        TANDEM_RETURN_IF_ERROR(Connect(subjects[i]->path()).status());
      }
      rates[i].push_back(options.connects /
                         absl::ToDoubleSeconds(absl::Now() - begin));
    }
  }
  for (std::size_t i = 0; i < subjects.size(); ++i) {
    std::printf("connections taken, %-6s  %.0f /s, one client (median)\n",
                subjects[i]->kind().c_str(), Median(rates[i]));
  }
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  if (!options.serve.empty()) return Serve(options);
  if (options.counts_instructions) return CompareInstructions(options);
  TANDEM_RETURN_IF_ERROR(CompareCalls(options));
  TANDEM_RETURN_IF_ERROR(HoldIdle(options));
  return TakeConnections(options);
}

int Main(int argc, char** argv) {
  CLI::App program(
      "Measures what Tandem's front door and guard cost beside gRPC's own "
      "listener.");
  Options options;
  program.add_option("--calls", options.calls, "Calls per round")
      ->capture_default_str();
  program.add_option("--rounds", options.rounds, "Rounds of each server")
      ->capture_default_str();
  program.add_option("--idle", options.idle, "Connections to hold")
      ->capture_default_str();
  program.add_option("--connects", options.connects, "Connections per round")
      ->capture_default_str();
  program.add_flag("--instructions", options.counts_instructions,
                   "Count instructions per call instead, under callgrind");
  program.add_option("--serve", options.serve, "Be the server (native, door)");
  program.add_option("--address", options.address, "Where to serve");
  CLI11_PARSE(program, argc, argv);
  AllowManyDescriptors();
  const absl::Status status = Run(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "tandem-door-bench: %s\n",
               std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace tandem::bench

int main(int argc, char** argv) { return tandem::bench::Main(argc, argv); }

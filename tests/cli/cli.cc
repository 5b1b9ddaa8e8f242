#include "tests/cli/cli.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "tests/support/trace.h"

namespace tandem::node::testing {
namespace {

using rpc::testing::Process;

constexpr char kProgram[] = TANDEM_BIN_DIR "/tandem";

}  // namespace

std::vector<nlohmann::json> Outcome::Objects() const {
  std::vector<nlohmann::json> objects;
  for (absl::string_view line : absl::StrSplit(out, '\n', absl::SkipEmpty())) {
    objects.push_back(
        nlohmann::json::parse(line.begin(), line.end(), nullptr, false));
  }
  return objects;
}

std::vector<nlohmann::json> Outcome::Events(std::string_view event) const {
  std::vector<nlohmann::json> events;
  for (nlohmann::json& object : Objects()) {
    if (object.value("event", "") == event) events.push_back(std::move(object));
  }
  return events;
}

Running::Running(const rpc::testing::TempDir& dir,
                 std::vector<std::string> command,
                 std::vector<std::string> environment, std::string input_path)
    : files_([&dir] {
        static std::atomic<int> count = 0;
        return dir.File(absl::StrCat("run", ++count));
      }()) {
  // Standard output and error apart.
  std::vector<std::string> wrapped{
      "/bin/sh",
      "-c",
      R"(out=$1 err=$2; shift 2; exec "$@" >"$out" 2>"$err")",
      "sh",
      files_ + ".out",
      files_ + ".err"};
  wrapped.insert(wrapped.end(), command.begin(), command.end());
  auto process = Process::Start({.command = std::move(wrapped),
                                 .log_path = files_ + ".log",
                                 .environment = std::move(environment),
                                 .input_path = std::move(input_path)});
  if (!process.ok()) {
    std::fprintf(stderr, "%s\n", process.status().ToString().c_str());
    std::abort();
  }
  process_ = *std::move(process);
}

std::string Running::out() const {
  return rpc::ReadFile(files_ + ".out").value_or("");
}
std::string Running::err() const {
  return rpc::ReadFile(files_ + ".err").value_or("");
}

bool Running::WaitLines(int count) const {
  const absl::Time deadline = absl::Now() + kLong;
  while (absl::Now() < deadline) {
    const bool is_running = process_->is_running();
    const std::string text = out();
    if (std::count(text.begin(), text.end(), '\n') >= count) return true;
    if (!is_running) break;
    absl::SleepFor(absl::Milliseconds(5));
  }
  std::fprintf(stderr, "standard error: %s\n", err().c_str());
  return false;
}

void Running::Signal(int signal) { (void)process_->Signal(signal); }

Outcome Running::Wait() {
  const auto status = process_->Wait(kLong);
  return {.status = status.ok() ? *status : -1, .out = out(), .err = err()};
}

Cli::Cli(std::string_view data) : data_(dir_.File(data)) {}

Cli::~Cli() {
  if (!std::filesystem::exists(trace())) return;
  for (const std::string& what :
       ViolationsIn(trace(), {.allow_older_state = allow_older_state_})) {
    ADD_FAILURE() << what;
  }
}

std::vector<std::string> Cli::Command(
    const std::vector<std::string>& arguments) const {
  std::vector<std::string> command{kProgram};
  command.insert(command.end(), arguments.begin(), arguments.end());
  if (!arguments.empty() && arguments[0] == "up") {
    command.insert(command.end(), {"--record", trace()});
  }
  return command;
}

std::unique_ptr<Running> Cli::Launch(std::vector<std::string> command,
                                     std::string_view input) {
  const std::string path = dir_.File("input");
  std::ofstream(path, std::ios::binary) << input;
  return std::make_unique<Running>(
      dir_, std::move(command),
      std::vector<std::string>{"TANDEM_DATA=" + data_}, path);
}

std::unique_ptr<Running> Cli::Start(const std::vector<std::string>& arguments) {
  return Launch(Command(arguments), "");
}

Outcome Cli::Run(const std::vector<std::string>& arguments,
                 std::string_view input) {
  return Launch(Command(arguments), input)->Wait();
}

Outcome Cli::RunBash(const std::string& script) {
  return Launch({"/bin/bash", "-c", script, kProgram}, "")->Wait();
}

std::unique_ptr<Running> Cli::Up() {
  auto up = Start({"up", "--json"});
  if (!up->WaitLines(1)) {
    std::fprintf(stderr, "tandem up: %s\n", up->err().c_str());
  }
  return up;
}

nlohmann::json Cli::Ready(const Running& up, std::size_t time) {
  const absl::Time deadline = absl::Now() + kLong;
  while (absl::Now() < deadline) {
    Outcome so_far{.out = up.out()};
    so_far.out.resize(so_far.out.rfind('\n') + 1);  // Whole lines.
    const auto ready = so_far.Events("ready");
    if (ready.size() >= time) return ready[time - 1];
    absl::SleepFor(absl::Milliseconds(5));
  }
  std::fprintf(stderr, "not ready: %s\n%s\n", up.out().c_str(),
               up.err().c_str());
  return nlohmann::json::value_t::discarded;
}

Watched::Watched(pid_t pid)
    : pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}

Watched::~Watched() { ::close(pidfd_); }

bool Watched::WaitEnded() const {
  pollfd ended{.fd = pidfd_, .events = POLLIN, .revents = 0};
  return ::poll(&ended, 1,
                static_cast<int>(absl::ToInt64Milliseconds(kLong))) == 1;
}

}  // namespace tandem::node::testing

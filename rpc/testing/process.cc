#include "rpc/testing/process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unique_fd.h"

extern char** environ;

namespace tandem::rpc::testing {
namespace {

// What execve(2) takes: pointers into `words`, which must stay, and null.
std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Our own environment with the options' entries in place of those of the same
// name.
std::vector<std::string> Environment(const ProcessOptions& options) {
  std::map<std::string, std::string> values;
  const auto set = [&values](const std::string& entry) {
    const std::size_t end = entry.find('=');
    values[entry.substr(0, end)] = entry;
  };
  for (char** entry = environ; *entry != nullptr; ++entry) set(*entry);
  for (const std::string& entry : options.environment) set(entry);
  std::vector<std::string> all;
  for (auto& [name, entry] : values) all.push_back(std::move(entry));
  return all;
}

// All that the child needs, made before it exists: between fork and exec it may
// call little else than the kernel.
struct Launch {
  char** arguments;
  char** environment;
  int input;
  int log;
  int failure;  // takes errno, closed by a successful exec
};

[[noreturn]] void BecomeProgram(const Launch& launch, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::dup2(launch.input, STDIN_FILENO);
  ::dup2(launch.log, STDOUT_FILENO);
  ::dup2(launch.log, STDERR_FILENO);
  ::execve(launch.arguments[0], launch.arguments, launch.environment);
  const int error = errno;
  (void)!::write(launch.failure, &error, sizeof(error));
  ::_exit(127);
}

absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags) {
  UniqueFd file(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (!file.is_valid()) {
    return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  }
  return file;
}

absl::StatusOr<pid_t> Launched(const ProcessOptions& options) {
  std::vector<std::string> command = options.command;
  std::vector<std::string> environment = Environment(options);
  const std::vector<char*> arguments = Pointers(command);
  const std::vector<char*> variables = Pointers(environment);
  TANDEM_ASSIGN_OR_RETURN(
      UniqueFd input,
      OpenFile(options.input_path.value_or("/dev/null"), O_RDONLY));
  TANDEM_ASSIGN_OR_RETURN(
      UniqueFd log, OpenFile(options.log_path, O_WRONLY | O_CREAT | O_APPEND));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const UniqueFd failure(ends[0]);
  UniqueFd report(ends[1]);
  const Launch launch = {
      .arguments = const_cast<char**>(arguments.data()),
      .environment = const_cast<char**>(variables.data()),
      .input = input.get(),
      .log = log.get(),
      .failure = report.get(),
  };
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) BecomeProgram(launch, parent);
  if (pid < 0) return absl::ErrnoToStatus(errno, "fork");
  report.Reset();
  int error = 0;
  if (::read(failure.get(), &error, sizeof(error)) != sizeof(error)) return pid;
  ::waitpid(pid, nullptr, 0);
  return absl::ErrnoToStatus(error, absl::StrCat("run ", command[0]));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Process>> Process::Start(
    ProcessOptions options) {
  if (options.command.empty()) {
    return absl::InvalidArgumentError("a process needs a command");
  }
  auto process = std::unique_ptr<Process>(new Process);
  Process* self = process.get();
  self->thread_ =
      std::thread([self, options = std::move(options)] { self->Run(options); });
  MutexLock lock(self->mu_);
  self->mu_.Await([self]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return self->started_.has_value();
  });
  if (!self->started_->ok()) return *self->started_;
  return process;
}

void Process::Run(const ProcessOptions& options) {
  const absl::StatusOr<pid_t> pid = Launched(options);
  {
    MutexLock lock(mu_);
    pid_ = pid.value_or(0);
    started_ = pid.status();
    mu_.NotifyAll();
  }
  if (!pid.ok()) return;
  siginfo_t info;
  // The pid stays taken until it is waited for below, under the lock, so that
  // Signal() never meets a stranger.
  while (::waitid(P_PID, *pid, &info, WEXITED | WNOWAIT) != 0) {
  }
  MutexLock lock(mu_);
  ::waitpid(*pid, nullptr, 0);
  result_ = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
  mu_.NotifyAll();
}

Process::~Process() {
  (void)Signal(SIGKILL);
  if (thread_.joinable()) thread_.join();
}

absl::Status Process::Signal(int signal) {
  MutexLock lock(mu_);
  if (pid_ == 0 || result_) {
    return absl::NotFoundError("the program has ended");
  }
  if (::kill(pid_, signal) != 0) return absl::ErrnoToStatus(errno, "kill");
  return absl::OkStatus();
}

absl::StatusOr<int> Process::Wait(absl::Duration timeout) {
  MutexLock lock(mu_);
  const bool ended = mu_.AwaitFor(
      timeout,
      [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return result_.has_value(); });
  if (!ended) {
    return absl::DeadlineExceededError(
        absl::StrCat("process ", pid_, " still runs"));
  }
  return *result_;
}

bool Process::is_running() const {
  MutexLock lock(mu_);
  return !result_;
}

}  // namespace tandem::rpc::testing

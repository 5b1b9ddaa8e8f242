#include "node/cli/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tandem::node {
namespace {

// glibc 2.36 declares these without C linkage.
int PidfdOpen(pid_t pid) {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}
void PidfdSignal(int pidfd, int signal) {
  ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0);
}

// The child's side of vfork: it shares our memory, in which other threads go on
// and may hold any lock, so it calls the kernel and little else. Reports the
// error of execve on `report`, which execve closes if it succeeds.
[[noreturn]] void BecomeProgram(char* const* argv, char* const* environment,
                                pid_t parent, int report) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // The parent died before prctl.
  ::setpgid(0, 0);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  struct sigaction usual {};
  usual.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &usual, nullptr);
  // Some of another thread's may be too young to be marked.
  ::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(argv[0], argv, environment);
  const int error = errno;
  [[maybe_unused]] const ssize_t written =
      ::write(report, &error, sizeof error);
  ::_exit(127);
}

// Starts the child. Unlike fork, vfork runs no pthread_atfork handlers, which a
// library with threads may have set.
[[gnu::noinline]] pid_t Spawn(char* const* argv, char* const* environment,
                              int report) {
  const pid_t parent = ::getpid();
  const pid_t pid = ::vfork();
  if (pid == 0) BecomeProgram(argv, environment, parent, report);
  return pid;
}

// Our own, but for the address of a service manager, who is told by us.
std::vector<char*> EnvironmentOfChildren() {
  std::vector<char*> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (std::string_view(*variable).starts_with("NOTIFY_SOCKET=")) continue;
    variables.push_back(*variable);
  }
  variables.push_back(nullptr);
  return variables;
}

std::string Describe(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) {
    return absl::StrCat("exited with status ", info.si_status);
  }
  return absl::StrCat("was ended by signal ", info.si_status, " (",
                      ::strsignal(info.si_status), ")");
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    std::vector<std::string> argv) {
  std::vector<char*> pointers;
  for (std::string& argument : argv) pointers.push_back(argument.data());
  pointers.push_back(nullptr);

  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  rpc::UniqueFd read_end(ends[0]);
  rpc::UniqueFd write_end(ends[1]);
  const pid_t pid =
      Spawn(pointers.data(), EnvironmentOfChildren().data(), write_end.get());
  if (pid < 0) return absl::ErrnoToStatus(errno, "vfork");
  write_end = rpc::UniqueFd();

  int error = 0;
  ssize_t got;
  do {
    got = ::read(read_end.get(), &error, sizeof error);
  } while (got < 0 && errno == EINTR);
  if (got == sizeof error) {
    ::waitpid(pid, nullptr, 0);
    return absl::ErrnoToStatus(error, absl::StrCat("cannot run ", argv[0]));
  }
  // Nobody else reaps our children, so the pid is still the child's.
  rpc::UniqueFd pidfd(PidfdOpen(pid));
  if (!pidfd.is_valid()) {
    const absl::Status status = absl::ErrnoToStatus(errno, "pidfd_open");
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return status;
  }
  return absl::WrapUnique(new ChildProcess(argv[0], pid, std::move(pidfd)));
}

ChildProcess::ChildProcess(std::string path, pid_t pid, rpc::UniqueFd pidfd)
    : path_(std::move(path)), pid_(pid), pidfd_(std::move(pidfd)) {}

ChildProcess::~ChildProcess() {
  Signal(SIGKILL);
  WaitEnded(absl::InfiniteDuration());
}

std::string ChildProcess::name() const {
  return absl::StrCat(std::filesystem::path(path_).filename().string(),
                      " (pid ", pid_, ")");
}

void ChildProcess::Signal(int signal) {
  if (!has_ended_) PidfdSignal(pidfd_.get(), signal);
}

bool ChildProcess::WaitEnded(absl::Duration timeout) {
  if (has_ended_) return true;
  const absl::Time deadline = absl::Now() + timeout;
  pollfd waiting{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  while (true) {
    const std::int64_t left = std::clamp<std::int64_t>(
        absl::ToInt64Milliseconds(
            absl::Ceil(deadline - absl::Now(), absl::Milliseconds(1))),
        0, 60'000);
    if (::poll(&waiting, 1, static_cast<int>(left)) > 0) break;
    if (absl::Now() >= deadline) return false;
  }
  siginfo_t info{};
  if (::waitid(P_PIDFD, pidfd_.get(), &info, WEXITED) != 0) return false;
  has_ended_ = true;
  if (info.si_code == CLD_EXITED) exit_status_ = info.si_status;
  ending_ = Describe(info);
  return true;
}

}  // namespace tandem::node

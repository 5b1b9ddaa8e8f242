#include "rpc/testing/process_pair.h"

#include <sys/stat.h>

#include <csignal>
#include <cstdio>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/base/status_macros.h"

namespace tandem::rpc::testing {
namespace {

// How often what nothing announces is looked at.
constexpr absl::Duration kLookAgain = absl::Milliseconds(20);
constexpr std::size_t kLastWords = 4000;

std::unique_ptr<Channel> ChannelTo(const std::string& address,
                                   const ChannelOptions& options) {
  auto channel = Channel::Connect(address, options);
  // TempDir makes addresses that are well formed.
  if (!channel.ok()) std::abort();
  return *std::move(channel);
}

// The state letter of /proc/PID/stat: 'T' is a process that stands still.
char StateOf(pid_t pid) {
  const std::string text =
      ReadFile(absl::StrCat("/proc/", pid, "/stat")).value_or("");
  const std::size_t name_end = text.rfind(')');
  return name_end == std::string::npos ? '?' : text[name_end + 2];
}

}  // namespace

ProcessPair::ProcessPair(ProcessPairOptions options)
    : options_(std::move(options)),
      address_(temp_.Address("server.sock")),
      channel_(ChannelTo(address_, options_.channel)) {
  ::mkdir(directory().c_str(), 0700);
}

ProcessPair::~ProcessPair() {
  Kill();
  if (!::testing::Test::HasFailure()) return;
  std::fprintf(stderr, "--- what %s wrote:\n%s---\n",
               options_.server.empty() ? "nobody" : options_.server[0].c_str(),
               Log().c_str());
}

absl::Status ProcessPair::Launch(const std::vector<std::string>& environment) {
  if (is_running()) {
    return absl::FailedPreconditionError("the server runs already");
  }
  std::vector<std::string> command;
  for (const std::string& word : options_.server) {
    command.push_back(absl::StrReplaceAll(
        word, {{"{socket}", address_}, {"{dir}", directory()}}));
  }
  std::vector<std::string> all = options_.environment;
  all.insert(all.end(), environment.begin(), environment.end());
  TANDEM_ASSIGN_OR_RETURN(process_,
                          Process::Start({.command = std::move(command),
                                          .log_path = temp_.File("server.log"),
                                          .environment = std::move(all)}));
  return absl::OkStatus();
}

absl::Status ProcessPair::Start() {
  TANDEM_RETURN_IF_ERROR(Launch());
  return WaitReady();
}

absl::Status ProcessPair::WaitReady() {
  const absl::Time deadline = absl::Now() + options_.timeout;
  for (;;) {
    const absl::Status connected = channel_->WaitForConnected(kLookAgain);
    if (connected.ok()) return connected;
    if (!is_running()) {
      const std::string log = Log();
      return absl::AbortedError(absl::StrCat(
          options_.server[0], " ended with ", process_->Wait({}).value_or(-1),
          " before it answered; it wrote: ",
          log.substr(log.size() > kLastWords ? log.size() - kLastWords : 0)));
    }
    if (absl::Now() > deadline) return connected;
  }
}

void ProcessPair::Kill() { process_.reset(); }

absl::StatusOr<int> ProcessPair::Terminate() {
  if (!process_) return absl::FailedPreconditionError("no server runs");
  TANDEM_RETURN_IF_ERROR(process_->Signal(SIGTERM));
  return WaitExit();
}

absl::StatusOr<int> ProcessPair::WaitExit() {
  if (!process_) return absl::FailedPreconditionError("no server runs");
  return process_->Wait(options_.timeout);
}

absl::Status ProcessPair::Restart() {
  Kill();
  return Start();
}

absl::Status ProcessPair::Suspend() {
  if (!process_) return absl::FailedPreconditionError("no server runs");
  TANDEM_RETURN_IF_ERROR(process_->Signal(SIGSTOP));
  const absl::Time deadline = absl::Now() + options_.timeout;
  while (StateOf(pid()) != 'T') {
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError("the server does not stand still");
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
  return absl::OkStatus();
}

absl::Status ProcessPair::Resume() {
  if (!process_) return absl::FailedPreconditionError("no server runs");
  return process_->Signal(SIGCONT);
}

pid_t ProcessPair::pid() const { return is_running() ? process_->pid() : 0; }

std::string ProcessPair::Log() const {
  return ReadFile(temp_.File("server.log")).value_or("");
}

}  // namespace tandem::rpc::testing

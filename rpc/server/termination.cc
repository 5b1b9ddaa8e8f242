#include "rpc/server/termination.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"

namespace tandem::rpc {
namespace {

// The one Termination's descriptor; -1 without one. Signals are the process's,
// and their handler is given nothing else to find it by.
std::atomic<int> g_event{-1};
// The first signal that it noticed; 0 before.
std::atomic<int> g_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);

void Notice(int signal) {
  const int saved = errno;
  int none = 0;
  g_signal.compare_exchange_strong(none, signal);
  ::eventfd_write(g_event.load(), 1);
  errno = saved;
}

// Returns what was in force.
struct sigaction Take(int signal) {
  struct sigaction before;
  ::sigaction(signal, nullptr, &before);
  if (before.sa_handler == SIG_IGN) return before;
  struct sigaction notice {};
  notice.sa_handler = Notice;
  notice.sa_flags = SA_RESTART | SA_RESETHAND;
  ::sigaction(signal, &notice, nullptr);
  return before;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Termination>> Termination::Create() {
  UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.is_valid()) return absl::ErrnoToStatus(errno, "eventfd");
  int none = -1;
  if (!g_event.compare_exchange_strong(none, event.get())) {
    return absl::FailedPreconditionError(
        "another part of this process waits for SIGTERM already");
  }
  g_signal = 0;
  return std::unique_ptr<Termination>(new Termination(std::move(event)));
}

Termination::Termination(UniqueFd event)
    : event_(std::move(event)),
      terminate_(Take(SIGTERM)),
      interrupt_(Take(SIGINT)) {}

Termination::~Termination() {
  ::sigaction(SIGTERM, &terminate_, nullptr);
  ::sigaction(SIGINT, &interrupt_, nullptr);
  g_event = -1;
}

void Termination::Request() { ::eventfd_write(event_.get(), 1); }

int Termination::signal() const { return g_signal; }

bool Termination::Wait(absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    const absl::Duration left = std::clamp(
        deadline - absl::Now(), absl::ZeroDuration(), absl::Hours(24));
    pollfd event{event_.get(), POLLIN, 0};
    const auto millis = static_cast<int>(
        absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))));
    if (::poll(&event, 1, millis) == 1) return true;
    if (absl::Now() >= deadline) return false;
  }
}

}  // namespace tandem::rpc

#include "tests/bench/wire/line_socket.h"

#include <sys/socket.h>

#include <cerrno>

namespace tandem::bench {

absl::Status LineSocket::Send(std::string line) {
  line += '\n';
  const ssize_t sent =
      ::send(fd_.get(), line.data(), line.size(), MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(line.size())) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, "send");
}

absl::StatusOr<std::string> LineSocket::Receive() {
  while (true) {
    const std::size_t end = unread_.find('\n');
    if (end != std::string::npos) {
      std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return line;
    }
    char some[4096];
    const ssize_t got = ::recv(fd_.get(), some, sizeof(some), 0);
    if (got <= 0) return absl::UnavailableError("the other process has ended");
    unread_.append(some, static_cast<std::size_t>(got));
  }
}

}  // namespace tandem::bench

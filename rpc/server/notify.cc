#include "rpc/server/notify.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "rpc/base/unique_fd.h"
#include "spdlog/spdlog.h"

namespace tandem::rpc {
namespace {

constexpr timeval kTimeout{.tv_sec = 1, .tv_usec = 0};

// A line of its own says something else to the manager.
std::string Status(std::string_view status) {
  std::string line = absl::StrCat("STATUS=", std::string(status));
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

absl::Status Send(const std::string& to, const std::string& message) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const bool is_abstract = to.starts_with('@');
  // An abstract name ends with the address, a path with a zero.
  if ((!is_abstract && !to.starts_with('/')) ||
      to.size() + (is_abstract ? 0 : 1) > sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        "it is neither a path nor an abstract name of a unix socket");
  }
  std::memcpy(address.sun_path, to.data(), to.size());
  if (is_abstract) address.sun_path[0] = '\0';
  const socklen_t size =
      offsetof(sockaddr_un, sun_path) + to.size() + (is_abstract ? 0 : 1);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.is_valid() || ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO,
                                     &kTimeout, sizeof(kTimeout)) != 0) {
    return absl::ErrnoToStatus(errno, "make a socket");
  }
  if (::sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&address), size) < 0) {
    return absl::ErrnoToStatus(errno, "send");
  }
  return absl::OkStatus();
}

void Notify(const std::string& message) {
  const char* to = std::getenv("NOTIFY_SOCKET");
  if (to == nullptr || *to == '\0') return;
  const absl::Status status = Send(to, message);
  if (status.ok()) return;
  spdlog::warn("the service manager was not told: NOTIFY_SOCKET={}: {}", to,
               std::string(status.message()));
}

}  // namespace

void NotifyReady(std::string_view status) {
  Notify(absl::StrCat("READY=1\n", Status(status)));
}

void NotifyStatus(std::string_view status) { Notify(Status(status)); }

void NotifyStopping() { Notify("STOPPING=1"); }

}  // namespace tandem::rpc

#include "tests/bench/wire/endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rpc/base/status_macros.h"

namespace tandem::bench {
namespace {

constexpr absl::Duration kSoon = absl::Minutes(1);
constexpr std::string_view kUnix = "unix:";
constexpr std::string_view kTcp = "127.0.0.1:";

struct SocketAddress {
  union {
    sockaddr any;
    sockaddr_un un;
    sockaddr_in in;
  };
  socklen_t size;
};

absl::StatusOr<SocketAddress> Parse(const std::string& address) {
  SocketAddress parsed;
  std::memset(&parsed, 0, sizeof(parsed));
  if (address.starts_with(kUnix)) {
    const std::string path = address.substr(kUnix.size());
    if (path.size() >= sizeof(parsed.un.sun_path)) {
      return absl::InvalidArgumentError(path + " is too long for a socket");
    }
    parsed.un.sun_family = AF_UNIX;
    path.copy(parsed.un.sun_path, path.size());
    parsed.size = sizeof(parsed.un);
    return parsed;
  }
  int port = 0;
  if (!address.starts_with(kTcp) ||
      !absl::SimpleAtoi(address.substr(kTcp.size()), &port)) {
    return absl::InvalidArgumentError(address + " is no address");
  }
  parsed.in.sin_family = AF_INET;
  parsed.in.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  parsed.in.sin_port = ::htons(static_cast<std::uint16_t>(port));
  parsed.size = sizeof(parsed.in);
  return parsed;
}

rpc::UniqueFd NewSocket(const SocketAddress& address) {
  return rpc::UniqueFd(
      ::socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

}  // namespace

absl::StatusOr<rpc::UniqueFd> Listen(const std::string& address) {
  TANDEM_ASSIGN_OR_RETURN(const SocketAddress parsed, Parse(address));
  rpc::UniqueFd fd = NewSocket(parsed);
  if (!fd.is_valid() || ::bind(fd.get(), &parsed.any, parsed.size) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    return absl::ErrnoToStatus(errno, "listen at " + address);
  }
  return fd;
}

absl::StatusOr<rpc::UniqueFd> Connect(const std::string& address) {
  TANDEM_ASSIGN_OR_RETURN(const SocketAddress parsed, Parse(address));
  rpc::UniqueFd fd = NewSocket(parsed);
  if (!fd.is_valid() || ::connect(fd.get(), &parsed.any, parsed.size) != 0) {
    return absl::ErrnoToStatus(errno, "connect to " + address);
  }
  const int on = 1;
  // Fails on sockets that have no such thing.
  (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return fd;
}

absl::StatusOr<rpc::UniqueFd> ConnectSoon(const std::string& address) {
  const absl::Time limit = absl::Now() + kSoon;
  while (true) {
    auto fd = Connect(address);
    if (fd.ok() || absl::Now() > limit) return fd;
    absl::SleepFor(absl::Milliseconds(5));
  }
}

absl::StatusOr<std::string> FreeTcpAddress() {
  TANDEM_ASSIGN_OR_RETURN(const rpc::UniqueFd fd,
                          Listen(absl::StrCat("127.0.0.1:", 0)));
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) !=
      0) {
    return absl::ErrnoToStatus(errno, "getsockname");
  }
  return absl::StrCat("127.0.0.1:", ::ntohs(address.sin_port));
}

}  // namespace tandem::bench

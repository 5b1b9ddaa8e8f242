// The unix sockets of other programs.

#ifndef TANDEM_TESTS_SUPPORT_RAW_SOCKET_H_
#define TANDEM_TESTS_SUPPORT_RAW_SOCKET_H_

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "gtest/gtest.h"
#include "rpc/base/unique_fd.h"

namespace tandem::test {

inline sockaddr_un SocketAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return address;
}

// A socket that has the path, of a type as socket(2) takes it; invalid, and a
// failure of the test, when that cannot be.
inline rpc::UniqueFd BindTo(const std::string& path,
                            int type = SOCK_STREAM | SOCK_CLOEXEC) {
  rpc::UniqueFd fd(::socket(AF_UNIX, type, 0));
  const sockaddr_un address = SocketAddress(path);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address),
             sizeof(address)) != 0) {
    ADD_FAILURE() << path << ": " << std::strerror(errno);
    return rpc::UniqueFd();
  }
  return fd;
}

// One that takes connections there; with a backlog of 0 the kernel queues one.
inline rpc::UniqueFd ListenAt(const std::string& path, int backlog = 8) {
  rpc::UniqueFd fd = BindTo(path);
  EXPECT_EQ(::listen(fd.get(), backlog), 0);
  return fd;
}

// A connected socket, which blocks; invalid when nobody listens.
inline rpc::UniqueFd ConnectTo(const std::string& path) {
  rpc::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = SocketAddress(path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0) {
    return rpc::UniqueFd();
  }
  return fd;
}

// True once the other side has closed, and said nothing.
inline bool IsClosed(const rpc::UniqueFd& fd) {
  pollfd poll_fd{fd.get(), POLLIN, 0};
  char byte;
  return ::poll(&poll_fd, 1, 20000) == 1 &&
         ::recv(fd.get(), &byte, 1, MSG_DONTWAIT) <= 0;
}

}  // namespace tandem::test

#endif  // TANDEM_TESTS_SUPPORT_RAW_SOCKET_H_

#include "rpc/socket/handed_in_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "rpc/base/status_macros.h"
#include "rpc/socket/unix_address.h"

namespace tandem::rpc {
namespace {

constexpr std::string_view kDescriptor = "fd:";
constexpr std::string_view kSystemd = "systemd:";
// The first of those that systemd passes.
constexpr int kFirst = 3;
// As many as a unit can have, by far.
constexpr int kMost = 4096;
// Connections that wait for accept(2); the kernel caps it (somaxconn).
constexpr int kBacklog = 1024;

absl::Status Refuse(absl::StatusCode code, std::string_view address,
                    std::string_view why) {
  return absl::Status(code, absl::StrCat("address \"",
                                         absl::CHexEscape(absl::string_view(
                                             address.data(), address.size())),
                                         "\": ", std::string(why)));
}

// A decimal number as nobody writes it in two ways.
bool ParseNumber(std::string_view text, int* number) {
  return !text.empty() && text.size() < 10 &&
         text.find_first_not_of("0123456789") == text.npos &&
         (text.size() == 1 || text.front() != '0') &&
         absl::SimpleAtoi(absl::string_view(text.data(), text.size()), number);
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The names of descriptors 3 and following, which systemd passed to us.
absl::StatusOr<std::vector<std::string>> PassedBySystemd(
    std::string_view address) {
  const std::string count_text = Variable("LISTEN_FDS");
  const std::string pid_text = Variable("LISTEN_PID");
  if (count_text.empty() || pid_text.empty()) {
    return Refuse(absl::StatusCode::kNotFound, address,
                  "LISTEN_FDS or LISTEN_PID is not set: is this a service that "
                  "a socket unit starts, and has nobody in this process taken "
                  "the sockets already?");
  }
  int count = 0;
  int pid = 0;
  if (!ParseNumber(count_text, &count) || count < 1 || count > kMost ||
      !ParseNumber(pid_text, &pid)) {
    return Refuse(absl::StatusCode::kNotFound, address,
                  absl::StrCat("LISTEN_FDS=", count_text, " and LISTEN_PID=",
                               pid_text, " name no descriptors"));
  }
  if (pid != ::getpid()) {
    return Refuse(absl::StatusCode::kNotFound, address,
                  absl::StrCat("the sockets are for process ", pid,
                               " (LISTEN_PID), and this is ", ::getpid(),
                               ": start the program itself, not a shell that "
                               "starts it, or let the shell exec it"));
  }
  std::vector<std::string> names(count, "unknown");
  if (const std::string text = Variable("LISTEN_FDNAMES"); !text.empty()) {
    names = absl::StrSplit(text, ':');
  }
  if (names.size() != static_cast<std::size_t>(count)) {
    return Refuse(absl::StatusCode::kNotFound, address,
                  absl::StrCat("LISTEN_FDNAMES has ", names.size(),
                               " names for ", count, " sockets (LISTEN_FDS)"));
  }
  return names;
}

// The descriptor of the one that `wanted` names, or of the only one.
absl::StatusOr<int> Choose(std::string_view address, std::string_view wanted,
                           const std::vector<std::string>& names) {
  int chosen = -1;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!wanted.empty() && names[i] != wanted) continue;
    if (chosen != -1) {
      return Refuse(absl::StatusCode::kFailedPrecondition, address,
                    absl::StrCat("a server listens on one socket, and this is "
                                 "the name of several of: ",
                                 absl::StrJoin(names, ", ")));
    }
    chosen = kFirst + static_cast<int>(i);
  }
  if (chosen != -1) return chosen;
  return Refuse(absl::StatusCode::kNotFound, address,
                absl::StrCat("the names of the sockets (FileDescriptorName=) "
                             "are: ",
                             absl::StrJoin(names, ", ")));
}

bool OptionIs(int fd, int option, int wanted) {
  int value = 0;
  socklen_t size = sizeof(value);
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 &&
         value == wanted;
}

// The name it was bound to: empty, a path, or a zero byte and an abstract name.
std::string BoundName(int fd) {
  sockaddr_un name{};
  socklen_t size = sizeof(name);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0 ||
      size <= offsetof(sockaddr_un, sun_path)) {
    return "";
  }
  const std::string bytes(name.sun_path,
                          size - offsetof(sockaddr_un, sun_path));
  return bytes.front() == '\0' ? bytes : bytes.substr(0, bytes.find('\0'));
}

// Where clients find a socket of that name.
std::string ReachableAddress(const std::string& name, int fd) {
  const std::string address = absl::StrCat("unix:", name);
  struct stat info;
  // One that was renamed, or is relative to where somebody else was, has a name
  // that leads nowhere.
  if (name.starts_with("/") && UnixAddress::Parse(address).ok() &&
      ::stat(name.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) {
    return address;
  }
  return absl::StrCat("fd:", fd);
}

absl::Status CheckIsOpen(std::string_view address, int fd) {
  if (::fcntl(fd, F_GETFD) >= 0) return absl::OkStatus();
  return Refuse(absl::StatusCode::kNotFound, address,
                absl::StrCat("descriptor ", fd, " is not open"));
}

absl::StatusOr<HandedInSocket> Take(std::string_view address, int fd) {
  const auto failed = [&](std::string_view step) {
    const int error = errno;
    return absl::ErrnoToStatus(
        error, absl::StrCat(std::string(address), ": ", std::string(step)));
  };
  TANDEM_RETURN_IF_ERROR(CheckIsOpen(address, fd));
  if (!OptionIs(fd, SO_DOMAIN, AF_UNIX) ||
      !OptionIs(fd, SO_TYPE, SOCK_STREAM)) {
    return Refuse(
        absl::StatusCode::kFailedPrecondition, address,
        absl::StrCat("descriptor ", fd, " is not a unix stream socket"));
  }
  HandedInSocket socket;
  socket.is_listening = OptionIs(fd, SO_ACCEPTCONN, 1);
  sockaddr_un peer;
  socklen_t size = sizeof(peer);
  const bool is_connected =
      ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0;
  if (!socket.is_listening && !is_connected) {
    return Refuse(absl::StatusCode::kFailedPrecondition, address,
                  absl::StrCat("descriptor ", fd,
                               " is a socket that neither listens nor is "
                               "connected"));
  }
  const std::string name = BoundName(fd);
  if (socket.is_listening && name.starts_with('\0')) {
    return Refuse(
        absl::StatusCode::kFailedPrecondition, address,
        absl::StrCat("descriptor ", fd,
                     " listens at an abstract name, which has neither "
                     "owner nor mode: let it listen at a path"));
  }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
      ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return failed("set its flags");
  }
  if (socket.is_listening && ::listen(fd, kBacklog) != 0) {
    return failed("listen");
  }
  socket.address = socket.is_listening ? ReachableAddress(name, fd)
                                       : absl::StrCat("fd:", fd);
  socket.fd = UniqueFd(fd);
  return socket;
}

// The descriptor that `address` means.
absl::StatusOr<int> DescriptorOf(std::string_view address) {
  if (address.starts_with(kSystemd)) {
    TANDEM_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            PassedBySystemd(address));
    return Choose(address, address.substr(kSystemd.size()), names);
  }
  int fd = -1;
  if (!address.starts_with(kDescriptor) ||
      !ParseNumber(address.substr(kDescriptor.size()), &fd)) {
    return Refuse(absl::StatusCode::kInvalidArgument, address,
                  "a socket that is handed in is written fd:3, systemd: or "
                  "systemd:NAME");
  }
  return fd;
}

absl::StatusOr<HandedInSocket> TakeFromSystemd(std::string_view address,
                                               int fd) {
  if (!OptionIs(fd, SO_ACCEPTCONN, 1)) {
    return Refuse(absl::StatusCode::kFailedPrecondition, address,
                  absl::StrCat("descriptor ", fd,
                               " does not listen: the socket unit needs "
                               "ListenStream= and no Accept=yes"));
  }
  TANDEM_ASSIGN_OR_RETURN(HandedInSocket socket, Take(address, fd));
  TANDEM_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          PassedBySystemd(address));
  for (std::size_t i = 0; i < names.size(); ++i) {
    ::fcntl(kFirst + static_cast<int>(i), F_SETFD, FD_CLOEXEC);
  }
  for (const char* name : {"LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"}) {
    ::unsetenv(name);
  }
  return socket;
}

}  // namespace

bool IsHandedIn(std::string_view address) {
  return address.starts_with(kDescriptor) || address.starts_with(kSystemd);
}

absl::Status CheckHandedInSocket(std::string_view address) {
  TANDEM_ASSIGN_OR_RETURN(const int fd, DescriptorOf(address));
  return CheckIsOpen(address, fd);
}

absl::StatusOr<HandedInSocket> TakeHandedInSocket(std::string_view address) {
  TANDEM_ASSIGN_OR_RETURN(const int fd, DescriptorOf(address));
  return address.starts_with(kSystemd) ? TakeFromSystemd(address, fd)
                                       : Take(address, fd);
}

}  // namespace tandem::rpc

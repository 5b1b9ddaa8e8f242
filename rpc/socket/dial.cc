#include "rpc/socket/dial.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unmapped_id.h"
#include "rpc/socket/directory.h"
#include "rpc/socket/peer_credentials.h"

namespace tandem::rpc {
namespace {

// Between two tries at a full queue.
constexpr absl::Duration kShortestPause = absl::Milliseconds(1);
constexpr absl::Duration kLongestPause = absl::Milliseconds(20);

// True when something that is no socket has the path. A path that is gone by
// now was a server's that is stopping, or starting again.
bool IsOtherThanSocket(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode);
}

// What a failed connect(2) means to who wants to reach the server.
absl::Status ConnectError(int error, const std::string& path) {
  switch (error) {
    case ENOENT:
      return absl::UnavailableError(absl::StrCat("there is no socket at ", path,
                                                 ": is the server running?"));
    case ECONNREFUSED:
      // The kernel says the same of a file that is no socket.
      if (IsOtherThanSocket(path)) break;
      return absl::UnavailableError(
          absl::StrCat("nobody listens at ", path,
                       ": the server died, or is stopping or starting"));
    case EAGAIN:
      return absl::UnavailableError(
          absl::StrCat("the server at ", path,
                       " does not accept connections: its queue is full"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat(
          "we may not connect to ", path,
          ": its mode, or that of a directory above it, does not let us"));
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
      return absl::ErrnoToStatus(error, absl::StrCat("connect to ", path));
    default:
      break;
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "what is at ", path,
      " is not a server's socket: connect: ", std::strerror(error)));
}

absl::StatusOr<UniqueFd> ConnectOnce(const std::string& path, int* error) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  *error = 0;
  if (!fd.is_valid() ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0) {
    *error = errno;
    return ConnectError(*error, path);
  }
  return fd;
}

// Half to all of `pause`, so that clients do not come back together.
absl::Duration Jittered(absl::Duration pause) {
  thread_local std::minstd_rand random(std::random_device{}());
  return pause * std::uniform_real_distribution<double>(0.5, 1)(random);
}

// Who may have put the socket there, in a directory that others may write.
bool IsOwnerTrusted(uid_t owner, uid_t server_uid) {
  return IsUser(owner, 0) || IsUser(owner, ::geteuid()) ||
         IsUser(owner, server_uid);
}

// That nobody but root, the server's user and we decide what is at the address.
absl::Status CheckPath(const UnixAddress& address, uid_t server_uid) {
  TANDEM_ASSIGN_OR_RETURN(const OpenedDirectory directory,
                          OpenDirectory(address.directory(), server_uid));
  if (!directory.safe.ok()) {
    return absl::PermissionDeniedError(
        absl::StrCat("nothing was sent to the server at ", address.path(), ": ",
                     std::string(directory.safe.message()),
                     " (where that is meant, say why: "
                     "--allow-shared-directory of `tandem`, "
                     "ChannelOptions::allow_shared_directory)"));
  }
  struct stat socket;
  struct stat around;
  if (::fstatat(directory.fd.get(), address.name().c_str(), &socket,
                AT_SYMLINK_NOFOLLOW) != 0 ||
      ::fstat(directory.fd.get(), &around) != 0) {
    return ConnectError(errno, address.path());
  }
  if (S_ISLNK(socket.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(address.path(), " is a link: nothing was sent to the ",
                     "server behind it; name the socket itself"));
  }
  if (!S_ISSOCK(socket.st_mode)) return ConnectError(ENOTSOCK, address.path());
  const bool shared = (around.st_mode & (S_IWGRP | S_IWOTH)) != 0;
  if (shared && !IsOwnerTrusted(socket.st_uid, server_uid)) {
    return absl::PermissionDeniedError(absl::StrCat(
        "nothing was sent to the server at ", address.path(),
        ": its directory is shared, and the socket belongs to ",
        UidName(socket.st_uid), ", who could replace it at any time"));
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> Connect(const std::string& path, absl::Time deadline) {
  absl::Duration pause = kShortestPause;
  while (true) {
    int error = 0;
    absl::StatusOr<UniqueFd> fd = ConnectOnce(path, &error);
    const absl::Duration left = deadline - absl::Now();
    if (error != EAGAIN || left <= absl::ZeroDuration()) return fd;
    // A full queue offers nothing to wait on.
    absl::SleepFor(std::min(Jittered(pause), left));
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace

absl::StatusOr<UniqueFd> Dial(const UnixAddress& address, uid_t server_uid,
                              absl::Time deadline,
                              std::string_view allow_shared_directory) {
  TANDEM_ASSIGN_OR_RETURN(UniqueFd fd, Connect(address.path(), deadline));
  TANDEM_RETURN_IF_ERROR(CheckServer(fd.get(), server_uid, address.path()));
  if (allow_shared_directory.empty()) {
    TANDEM_RETURN_IF_ERROR(CheckPath(address, server_uid));
  }
  return fd;
}

absl::Status CheckServer(int fd, uid_t server_uid, std::string_view where) {
  TANDEM_ASSIGN_OR_RETURN(const PeerCredentials server, PeerCredentialsOf(fd));
  if (IsUser(server.uid, server_uid)) return absl::OkStatus();
  const std::string advice =
      IsUnmappedUid(server.uid)
          ? "our user namespace has no number for that user; where it is "
            "meant, "
            "map it"
          : absl::StrCat("where that is meant, say so: --server-uid ",
                         server.uid,
                         " of `tandem`, ChannelOptions::server_uid");
  return absl::PermissionDeniedError(absl::StrCat(
      "the server at ", std::string(where), " runs as ", UidName(server.uid),
      ", not as uid ", server_uid, ": nothing was sent to it (", advice, ")"));
}

}  // namespace tandem::rpc

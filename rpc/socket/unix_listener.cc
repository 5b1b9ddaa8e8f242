#include "rpc/socket/unix_listener.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "rpc/base/status_macros.h"

namespace tandem::rpc {
namespace {

// Connections that wait for accept(2); the kernel caps it (somaxconn).
constexpr int kBacklog = 1024;
// How often we try again where another process interferes.
constexpr int kAttempts = 10;

UniqueFd StreamSocket() {
  return UniqueFd(
      ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

// The address of `name` within the directory `fd`, or, without a name, of the
// file `fd` itself. By way of /proc it does not matter how long the path is,
// nor that it may be renamed.
sockaddr_un AddressBelow(const UniqueFd& fd, const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof(address.sun_path),
                name.empty() ? "/proc/self/fd/%d" : "/proc/self/fd/%d/%s",
                fd.get(), name.c_str());
  return address;
}

// The pid that the lock's holder wrote, as " (pid 12)", or nothing.
std::string HolderOf(const UniqueFd& lock) {
  char text[16] = {};
  pid_t pid = 0;
  if (::pread(lock.get(), text, sizeof(text) - 1, 0) <= 0 ||
      !absl::SimpleAtoi(text, &pid)) {
    return "";
  }
  return absl::StrCat(" (pid ", pid, ")");
}

// For the reader of HolderOf(), who can do without: errors do not matter.
void WritePid(const UniqueFd& lock) {
  const std::string pid = absl::StrCat(::getpid(), "\n");
  [[maybe_unused]] const bool written =
      ::ftruncate(lock.get(), 0) == 0 &&
      ::pwrite(lock.get(), pid.data(), pid.size(), 0) > 0;
}

// A name that nobody expects, of 10 bytes.
std::string RandomName() {
  std::uint32_t random = 0;
  // Cannot fail for so few bytes.
  [[maybe_unused]] const int failed = ::getentropy(&random, sizeof(random));
  return absl::StrFormat(".s%08x", random);
}

}  // namespace

absl::StatusOr<gid_t> GroupByName(std::string_view name) {
  const std::string text(name);
  gid_t number = 0;
  if (absl::SimpleAtoi(text, &number)) return number;
  std::vector<char> buffer(1 << 16);
  group entry;
  group* found = nullptr;
  const int error =
      ::getgrnam_r(text.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found != nullptr) return found->gr_gid;
  if (error != 0) {
    return absl::ErrnoToStatus(error, absl::StrCat("group ", text));
  }
  return absl::NotFoundError(absl::StrCat("there is no group ", text));
}

absl::StatusOr<std::unique_ptr<UnixListener>> UnixListener::Listen(
    const UnixAddress& address, const SocketPermissions& permissions) {
  auto listener = std::unique_ptr<UnixListener>(new UnixListener(address));
  if ((permissions.mode & ~mode_t{0777}) != 0) {
    return listener->Refuse(
        absl::StatusCode::kInvalidArgument,
        absl::StrFormat("mode %#o has bits outside 0777", permissions.mode));
  }
  TANDEM_RETURN_IF_ERROR(listener->OpenDirectory());
  TANDEM_RETURN_IF_ERROR(listener->TakeLock());
  TANDEM_RETURN_IF_ERROR(listener->RemoveStaleSocket());
  TANDEM_RETURN_IF_ERROR(listener->BindPrivately(permissions));
  TANDEM_RETURN_IF_ERROR(listener->Complete(permissions));
  TANDEM_RETURN_IF_ERROR(listener->Publish());
  return listener;
}

absl::Status UnixListener::OpenDirectory() {
  const std::string path = address_.directory();
  directory_ = UniqueFd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory_.is_valid()) {
    return Failed(errno, absl::StrCat("open the directory ", path));
  }
  struct stat info;
  if (::fstat(directory_.get(), &info) != 0) {
    return Failed(errno, absl::StrCat("look at the directory ", path));
  }
  const bool owned = info.st_uid == 0 || info.st_uid == ::geteuid();
  const bool sticky = (info.st_mode & S_ISVTX) != 0;
  const bool shared = (info.st_mode & (S_IWGRP | S_IWOTH)) != 0;
  if (owned && (sticky || !shared)) return absl::OkStatus();
  return Refuse(
      absl::StatusCode::kFailedPrecondition,
      absl::StrFormat("the directory %s (owner uid %d, mode %04o) lets others "
                      "replace the socket: it must belong to us or to root, "
                      "and be writable by its owner alone or sticky",
                      path, info.st_uid, info.st_mode & 07777));
}

absl::Status UnixListener::TakeLock() {
  const std::string name = absl::StrCat(".", address_.name(), ".lock");
  for (int i = 0; i < kAttempts; ++i) {
    TANDEM_RETURN_IF_ERROR(TryLock());
    struct stat held;
    struct stat named;
    // Somebody who removes lock files may have let another server lock a new
    // one: only the file that has the name counts.
    if (::fstat(lock_.get(), &held) == 0 &&
        ::fstatat(directory_.get(), name.c_str(), &named,
                  AT_SYMLINK_NOFOLLOW) == 0 &&
        held.st_dev == named.st_dev && held.st_ino == named.st_ino) {
      WritePid(lock_);
      return absl::OkStatus();
    }
  }
  return Refuse(absl::StatusCode::kAborted,
                absl::StrCat("something keeps replacing the lock file ", name));
}

absl::Status UnixListener::TryLock() {
  const std::string name = absl::StrCat(".", address_.name(), ".lock");
  lock_ = UniqueFd(::openat(
      directory_.get(), name.c_str(),
      O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600));
  if (!lock_.is_valid()) {
    return Failed(errno, absl::StrCat("open the lock file ", name));
  }
  struct stat info;
  if (::fstat(lock_.get(), &info) != 0) {
    return Failed(errno, absl::StrCat("look at the lock file ", name));
  }
  // In a sticky directory anybody may have made it, to lock us out.
  const bool ours = info.st_uid == 0 || info.st_uid == ::geteuid();
  struct stat directory;
  const bool sticky = ::fstat(directory_.get(), &directory) != 0 ||
                      (directory.st_mode & S_ISVTX) != 0;
  if (!S_ISREG(info.st_mode) || (sticky && !ours)) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  absl::StrCat("the lock file ", name, " (owner uid ",
                               info.st_uid, ") was not made by us: remove it"));
  }
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  if (errno != EWOULDBLOCK) {
    return Failed(errno, absl::StrCat("lock the file ", name));
  }
  return Refuse(absl::StatusCode::kAlreadyExists,
                absl::StrCat("another server", HolderOf(lock_),
                             " runs there: it holds the lock file ", name));
}

absl::Status UnixListener::RemoveStaleSocket() {
  const std::string name = address_.name();
  // Held open, the file keeps its inode number to itself.
  const UniqueFd pin(::openat(directory_.get(), name.c_str(),
                              O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!pin.is_valid()) {
    if (errno == ENOENT) return absl::OkStatus();
    return Failed(errno, "look at the path");
  }
  TANDEM_RETURN_IF_ERROR(CheckNobodyListens(pin));
  struct stat pinned;
  if (::fstat(pin.get(), &pinned) != 0) {
    return Failed(errno, "look at the path");
  }
  const absl::StatusOr<FileId> named = IdOf(name);
  if (!named.ok() || *named != FileId{pinned.st_dev, pinned.st_ino}) {
    return Refuse(absl::StatusCode::kAlreadyExists,
                  "the path changed while we looked at it: somebody else "
                  "starts or stops there");
  }
  if (::unlinkat(directory_.get(), name.c_str(), 0) != 0) {
    return Failed(errno, "remove the socket that a dead server left");
  }
  return absl::OkStatus();
}

absl::Status UnixListener::CheckNobodyListens(const UniqueFd& pin) const {
  struct stat info;
  if (::fstat(pin.get(), &info) != 0) return Failed(errno, "look at the path");
  if (!S_ISSOCK(info.st_mode)) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "the path exists and is not a socket");
  }
  const UniqueFd probe = StreamSocket();
  if (!probe.is_valid()) return Failed(errno, "make a socket");
  const sockaddr_un address = AddressBelow(pin, "");
  const int error =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) == 0
          ? 0
          : errno;
  // The only proof: EAGAIN, for one, is a server with a full queue.
  if (error == ECONNREFUSED) return absl::OkStatus();
  if (error == 0 || error == EAGAIN) {
    return Refuse(absl::StatusCode::kAlreadyExists,
                  "another server runs there, without the lock file");
  }
  return Refuse(absl::StatusCode::kFailedPrecondition,
                absl::StrCat("there is a socket, and whether a server lives "
                             "behind it is unknown: connect: ",
                             std::strerror(error)));
}

absl::Status UnixListener::BindPrivately(const SocketPermissions& permissions) {
  socket_ = StreamSocket();
  if (!socket_.is_valid()) return Failed(errno, "make a socket");
  // The file gets this mode less the umask: never more than its final one.
  if (::fchmod(socket_.get(), 0600 & permissions.mode) != 0) {
    return Failed(errno, "set the mode of the socket");
  }
  for (int i = 0; i < kAttempts; ++i) {
    const std::string name = RandomName();
    const sockaddr_un address = AddressBelow(directory_, name);
    if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address),
               sizeof(address)) == 0) {
      private_name_ = name;
      return absl::OkStatus();
    }
    if (errno != EADDRINUSE) break;
  }
  return Failed(errno, "make the socket file");
}

absl::Status UnixListener::Complete(const SocketPermissions& permissions) {
  // In this order: until listen() nobody can connect, and from then on the
  // owner and the mode are right.
  if ((permissions.uid || permissions.gid) &&
      ::fchownat(directory_.get(), private_name_.c_str(),
                 permissions.uid.value_or(static_cast<uid_t>(-1)),
                 permissions.gid.value_or(static_cast<gid_t>(-1)),
                 AT_SYMLINK_NOFOLLOW) != 0) {
    return Failed(errno, "give the socket to the owner or group asked for");
  }
  if (::fchmodat(directory_.get(), private_name_.c_str(), permissions.mode,
                 0) != 0) {
    return Failed(errno, "set the mode of the socket file");
  }
  if (::listen(socket_.get(), kBacklog) != 0) return Failed(errno, "listen");
  TANDEM_ASSIGN_OR_RETURN(published_, IdOf(private_name_));
  return absl::OkStatus();
}

absl::Status UnixListener::Publish() {
  if (::renameat2(directory_.get(), private_name_.c_str(), directory_.get(),
                  address_.name().c_str(), RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST) {
      return Refuse(absl::StatusCode::kAlreadyExists,
                    "somebody else took the path while we started");
    }
    return Failed(errno, "rename the socket to its name");
  }
  private_name_.clear();
  return absl::OkStatus();
}

bool UnixListener::IsPublished() const {
  if (!socket_.is_valid()) return false;
  const absl::StatusOr<FileId> id = IdOf(address_.name());
  return id.ok() && *id == published_;
}

void UnixListener::Close() {
  if (!socket_.is_valid()) return;
  // Before the socket is closed: after that a new server's file may have the
  // same inode number.
  if (!private_name_.empty()) {
    ::unlinkat(directory_.get(), private_name_.c_str(), 0);
  } else if (IsPublished()) {
    ::unlinkat(directory_.get(), address_.name().c_str(), 0);
  }
  socket_.Reset();
}

absl::StatusOr<UnixListener::FileId> UnixListener::IdOf(
    const std::string& name) const {
  struct stat info;
  if (::fstatat(directory_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) !=
      0) {
    return Failed(errno, "look at the socket file");
  }
  return FileId{info.st_dev, info.st_ino};
}

absl::Status UnixListener::Refuse(absl::StatusCode code,
                                  std::string_view why) const {
  return absl::Status(code, absl::StrCat("listen on ", address_.path(), ": ",
                                         std::string(why)));
}

absl::Status UnixListener::Failed(int error, std::string_view step) const {
  return absl::ErrnoToStatus(error, absl::StrCat("listen on ", address_.path(),
                                                 ": ", std::string(step)));
}

}  // namespace tandem::rpc

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
#include <csignal>
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
#include "rpc/base/unmapped_id.h"
#include "rpc/socket/directory.h"
#include "spdlog/spdlog.h"

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
  if (::kill(pid, 0) == 0 || errno != ESRCH) {
    return absl::StrCat(" (pid ", pid, ")");
  }
  return absl::StrCat(" (pid ", pid,
                      ", which is gone or not to be seen from here: maybe a "
                      "child that it forked)");
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
  // The last number stands for no group: chown(2) would leave the one it has.
  if (absl::SimpleAtoi(text, &number) && number != static_cast<gid_t>(-1)) {
    return number;
  }
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
    const UnixAddress& address, const SocketPermissions& permissions,
    std::string_view allow_shared_directory) {
  auto listener = std::unique_ptr<UnixListener>(new UnixListener(address));
  if ((permissions.mode & ~mode_t{0777}) != 0) {
    return listener->Refuse(
        absl::StatusCode::kInvalidArgument,
        absl::StrFormat("mode %#o has bits outside 0777", permissions.mode));
  }
  TANDEM_RETURN_IF_ERROR(listener->OpenItsDirectory(allow_shared_directory));
  TANDEM_RETURN_IF_ERROR(listener->LookAround(permissions));
  TANDEM_RETURN_IF_ERROR(listener->TakeLock());
  TANDEM_RETURN_IF_ERROR(listener->RemoveStaleSocket(permissions));
  TANDEM_RETURN_IF_ERROR(listener->BindPrivately(permissions));
  TANDEM_RETURN_IF_ERROR(listener->Complete(permissions));
  TANDEM_RETURN_IF_ERROR(listener->Publish());
  return listener;
}

UnixListener::~UnixListener() {
  Close();
  // Closing would not do: a forked child may have it too.
  if (owner_ == ::getpid() && lock_.is_valid()) ::flock(lock_.get(), LOCK_UN);
}

absl::Status UnixListener::OpenItsDirectory(
    std::string_view allow_shared_directory) {
  absl::StatusOr<OpenedDirectory> directory =
      OpenDirectory(address_.directory());
  if (!directory.ok()) {
    return Refuse(directory.status().code(),
                  std::string(directory.status().message()));
  }
  directory_ = std::move(directory->fd);
  if (directory->safe.ok()) return absl::OkStatus();
  const std::string why(directory->safe.message());
  if (allow_shared_directory.empty()) {
    return Refuse(directory->safe.code(),
                  absl::StrCat(why,
                               "; or say why those others are to be trusted "
                               "(--allow-shared-directory of our programs, "
                               "ServerOptions::allow_shared_directory)"));
  }
  spdlog::warn("{}: {}; allowed, because: {}", address_.path(), why,
               allow_shared_directory);
  return absl::OkStatus();
}

// So that a refusal leaves no lock file beside what is not ours. Whoever holds
// a lock file is asked by way of that.
absl::Status UnixListener::LookAround(
    const SocketPermissions& permissions) const {
  TANDEM_ASSIGN_OR_RETURN(const UniqueFd pin, PinPath());
  if (!pin.is_valid()) return absl::OkStatus();
  TANDEM_RETURN_IF_ERROR(CheckIsOurs(pin, permissions));
  if (IdOf(LockName()).ok()) return absl::OkStatus();
  return CheckNobodyListens(pin);
}

std::string UnixListener::LockName() const {
  return absl::StrCat(".", address_.name(), ".lock");
}

absl::Status UnixListener::TakeLock() {
  const std::string name = LockName();
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
  const std::string name = LockName();
  lock_ = UniqueFd(::openat(
      directory_.get(), name.c_str(),
      O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600));
  if (!lock_.is_valid()) {
    const int error = errno;
    return Failed(
        error,
        absl::StrCat("open the lock file ", name,
                     error == EACCES ? " (the directory, and the file if there "
                                       "is one, must be ours to write)"
                                     : ""));
  }
  struct stat info;
  if (::fstat(lock_.get(), &info) != 0) {
    return Failed(errno, absl::StrCat("look at the lock file ", name));
  }
  // In a sticky directory anybody may have made it, to lock us out.
  const bool ours = IsUser(info.st_uid, 0) || IsUser(info.st_uid, ::geteuid());
  struct stat directory;
  const bool sticky = ::fstat(directory_.get(), &directory) != 0 ||
                      (directory.st_mode & S_ISVTX) != 0;
  // With a second name it is some other file of ours, which the pid would
  // overwrite.
  if (!S_ISREG(info.st_mode) || info.st_nlink > 1 || (sticky && !ours)) {
    lock_.Reset();
    return Refuse(
        absl::StatusCode::kFailedPrecondition,
        absl::StrCat("the lock file ", name, " (owner ", UidName(info.st_uid),
                     ") was not made by us: remove it"));
  }
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  if (errno != EWOULDBLOCK) {
    return Failed(errno, absl::StrCat("lock the file ", name));
  }
  return Refuse(absl::StatusCode::kAlreadyExists,
                absl::StrCat("another server", HolderOf(lock_),
                             " runs there: it holds the lock file ", name));
}

absl::StatusOr<UniqueFd> UnixListener::PinPath() const {
  // Held open, the file keeps its inode number to itself.
  UniqueFd pin(::openat(directory_.get(), address_.name().c_str(),
                        O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!pin.is_valid() && errno != ENOENT) {
    return Failed(errno, "look at the path");
  }
  return pin;
}

absl::Status UnixListener::CheckIsOurs(
    const UniqueFd& pin, const SocketPermissions& permissions) const {
  struct stat info;
  if (::fstat(pin.get(), &info) != 0) return Failed(errno, "look at the path");
  if (!S_ISSOCK(info.st_mode)) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "the path exists and is not a socket");
  }
  if (IsUser(info.st_uid, 0) || IsUser(info.st_uid, ::geteuid()) ||
      (permissions.uid && IsUser(info.st_uid, *permissions.uid))) {
    return absl::OkStatus();
  }
  return Refuse(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat("there is a socket of another user (", UidName(info.st_uid),
                   "): if no server of theirs runs, remove it"));
}

absl::Status UnixListener::RemoveStaleSocket(
    const SocketPermissions& permissions) {
  TANDEM_ASSIGN_OR_RETURN(const UniqueFd pin, PinPath());
  if (!pin.is_valid()) return absl::OkStatus();
  TANDEM_RETURN_IF_ERROR(CheckIsOurs(pin, permissions));
  TANDEM_RETURN_IF_ERROR(CheckNobodyListens(pin));
  struct stat pinned;
  if (::fstat(pin.get(), &pinned) != 0) {
    return Failed(errno, "look at the path");
  }
  return Remove({pinned.st_dev, pinned.st_ino});
}

absl::Status UnixListener::Remove(const FileId& socket) const {
  const std::string name = address_.name();
  const auto is_that = [&](const std::string& file) {
    const absl::StatusOr<FileId> id = IdOf(file);
    return id.ok() && *id == socket;
  };
  const absl::Status changed =
      Refuse(absl::StatusCode::kAlreadyExists,
             "the path changed while we looked at it: somebody else starts or "
             "stops there");
  if (!is_that(name)) return changed;
  // Moved aside before it is removed: who takes the path just now, without our
  // lock, gets it back.
  const std::string aside = RandomName();
  if (::renameat2(directory_.get(), name.c_str(), directory_.get(),
                  aside.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno == ENOENT) return changed;
    return Failed(errno, "move aside the socket");
  }
  if (!is_that(aside)) {
    ::renameat2(directory_.get(), aside.c_str(), directory_.get(), name.c_str(),
                RENAME_NOREPLACE);
    return changed;
  }
  if (::unlinkat(directory_.get(), aside.c_str(), 0) != 0) {
    return Failed(errno, "remove the socket");
  }
  return absl::OkStatus();
}

absl::Status UnixListener::CheckNobodyListens(const UniqueFd& pin) const {
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
  // owner and the mode are right. By descriptor: once the owner is another, he
  // may put a link in the place of the name.
  const UniqueFd file(::openat(directory_.get(), private_name_.c_str(),
                               O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat info;
  if (!file.is_valid() || ::fstat(file.get(), &info) != 0) {
    return Failed(errno, "open the socket file");
  }
  if (!S_ISSOCK(info.st_mode)) {
    return Refuse(absl::StatusCode::kAborted,
                  "somebody replaced the socket file while we started");
  }
  if ((permissions.uid || permissions.gid) &&
      ::fchownat(file.get(), "",
                 permissions.uid.value_or(static_cast<uid_t>(-1)),
                 permissions.gid.value_or(static_cast<gid_t>(-1)),
                 AT_EMPTY_PATH) != 0) {
    return Failed(errno, "give the socket to the owner or group asked for");
  }
  if (::chmod(absl::StrCat("/proc/self/fd/", file.get()).c_str(),
              permissions.mode) != 0) {
    return Failed(errno, "set the mode of the socket file");
  }
  if (::listen(socket_.get(), kBacklog) != 0) return Failed(errno, "listen");
  published_ = FileId{info.st_dev, info.st_ino};
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
  if (owner_ != ::getpid()) {
    // Nothing is ours to remove.
  } else if (!private_name_.empty()) {
    ::unlinkat(directory_.get(), private_name_.c_str(), 0);
  } else {
    // What stays was replaced, or cannot be removed: a start sees to it.
    Remove(published_).IgnoreError();
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

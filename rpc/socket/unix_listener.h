// Publishes a unix socket: one server a path, complete from its first moment.

#ifndef TANDEM_RPC_SOCKET_UNIX_LISTENER_H_
#define TANDEM_RPC_SOCKET_UNIX_LISTENER_H_

#include <sys/types.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "rpc/base/unique_fd.h"
#include "rpc/socket/unix_address.h"

namespace tandem::rpc {

// Who may open a socket file, as far as the file system decides it.
struct SocketPermissions {
  // Exactly these bits, whatever the umask; within 0777. To connect takes write
  // permission.
  mode_t mode = 0600;
  // Unset: our own effective uid and gid (the directory's gid where that is
  // setgid). To give the file away takes privileges, or membership of the
  // group.
  std::optional<uid_t> uid = std::nullopt;
  std::optional<gid_t> gid = std::nullopt;

  bool operator==(const SocketPermissions&) const = default;
};

// The gid of the group `name`, or of its decimal number, for a program's
// --group. Errors: kNotFound.
absl::StatusOr<gid_t> GroupByName(std::string_view name);

// Listens on a path of the file system until closed.
//
// The socket appears under its name in one step, with its final owner and mode,
// and already listening: nobody ever connects to half a server. A file
// ".<name>.lock" beside it is held locked for life, so of two servers one wins;
// it names our pid and is never removed. A socket that a dead server left is
// replaced if it belongs to us, to root, or to the owner that is asked for;
// whatever else is found at the path stays as it is.
//
// Children: a program that we start (exec) inherits nothing. A fork(2) without
// exec has the lock and the socket as we do. That does no harm when we stop,
// for the lock is then let go for all; but if we are killed, such a child keeps
// the path until it ends, and the next start says so. Nothing can be done about
// it here: whoever forks without exec closes what the child does not need.
//
// Lifecycle: Listen() returns once clients can connect. Close(), or the
// destructor, removes the name unless somebody else's socket has taken it.
//
// Thread safety: thread-compatible.
class UnixListener {
 public:
  // `allow_shared_directory` says why others may be trusted who can replace the
  // socket, since they may write to its directory or to one above; it is
  // logged. When empty they are not trusted.
  //
  // Errors, after which the path is as it was before:
  //   kAlreadyExists       a server lives there, or is about to: the message
  //                        names its pid where it is known
  //   kFailedPrecondition  the path is a file, a directory, a link, or the
  //                        socket of a third; or others could replace ours
  //   kNotFound            there is no such directory
  //   kPermissionDenied    the directory is not ours to write, the owner not
  //                        ours to give
  //   kInvalidArgument     mode bits outside 0777
  static absl::StatusOr<std::unique_ptr<UnixListener>> Listen(
      const UnixAddress& address, const SocketPermissions& permissions = {},
      std::string_view allow_shared_directory = {});

  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;
  ~UnixListener();

  const UnixAddress& address() const { return address_; }

  // The listening socket, which does not block; -1 once closed.
  int fd() const { return socket_.get(); }

  // False once the name is gone or is another's: then no client finds us.
  bool IsPublished() const;

  // Removes the name, if it is still ours, then closes the socket. Keeps the
  // lock until destroyed, so that no successor starts beside what we still do.
  // Idempotent.
  void Close();

 private:
  // What tells one file from another while one of the two is held open.
  struct FileId {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const FileId&) const = default;
  };

  explicit UnixListener(const UnixAddress& address) : address_(address) {}

  // The steps of Listen(), in order.
  absl::Status OpenItsDirectory(std::string_view allow_shared_directory);
  absl::Status LookAround(const SocketPermissions& permissions) const;
  absl::Status TakeLock();
  absl::Status RemoveStaleSocket(const SocketPermissions& permissions);
  // Removes what has our name if it is `socket`, and nobody else's file that
  // takes the name just then. Errors: kAlreadyExists when it is not.
  absl::Status Remove(const FileId& socket) const;
  absl::Status BindPrivately(const SocketPermissions& permissions);
  absl::Status Complete(const SocketPermissions& permissions);
  absl::Status Publish();

  absl::Status TryLock();
  std::string LockName() const;
  // Holds what is at the path; invalid when nothing is.
  absl::StatusOr<UniqueFd> PinPath() const;
  // What is held so is a socket, and not of a third.
  absl::Status CheckIsOurs(const UniqueFd& pin,
                           const SocketPermissions& permissions) const;
  // It is, and nobody listens there.
  absl::Status CheckNobodyListens(const UniqueFd& pin) const;
  // Who is at a name in the directory; an error when nobody is.
  absl::StatusOr<FileId> IdOf(const std::string& name) const;
  // "listen on /run/kv.sock: ...".
  absl::Status Refuse(absl::StatusCode code, std::string_view why) const;
  absl::Status Failed(int error, std::string_view step) const;

  const UnixAddress address_;
  // In a forked child, which may destroy this, names and lock are not its own.
  const pid_t owner_ = ::getpid();
  // Opened O_PATH: everything happens in this directory, wherever its name is
  // moved to meanwhile.
  UniqueFd directory_;
  UniqueFd lock_;
  UniqueFd socket_;
  // The name until Publish().
  std::string private_name_;
  FileId published_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SOCKET_UNIX_LISTENER_H_

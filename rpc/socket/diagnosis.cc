#include "rpc/socket/diagnosis.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "rpc/base/unique_fd.h"
#include "rpc/base/unmapped_id.h"
#include "rpc/socket/directory.h"
#include "rpc/socket/peer_credentials.h"

namespace tandem::rpc {
namespace {

namespace fs = std::filesystem;

// Whether a server binds such a name before it renames it (UnixListener).
bool IsPrivateName(std::string_view name) {
  return name.size() == 10 && name.starts_with(".s");
}

std::string UserName(uid_t uid) {
  if (IsUnmappedUid(uid)) return UidName(uid);
  std::vector<char> buffer(1 << 14);
  passwd entry;
  passwd* found = nullptr;
  ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
  return found == nullptr ? absl::StrCat("uid ", uid)
                          : absl::StrCat(found->pw_name, " (uid ", uid, ")");
}

std::string GroupName(gid_t gid) {
  std::vector<char> buffer(1 << 16);
  group entry;
  group* found = nullptr;
  ::getgrgid_r(gid, &entry, buffer.data(), buffer.size(), &found);
  return found == nullptr ? absl::StrCat("gid ", gid)
                          : absl::StrCat(found->gr_name, " (gid ", gid, ")");
}

// "tandem-node (pid 12)": what runs under the number now.
std::string ProcessName(pid_t pid) {
  if (pid <= 0) return "a process that is not visible from here";
  std::ifstream file(absl::StrCat("/proc/", pid, "/comm"));
  std::string name;
  std::getline(file, name);
  return name.empty() ? absl::StrCat("pid ", pid)
                      : absl::StrCat(name, " (pid ", pid, ")");
}

std::string Mode(const struct stat& info) {
  return absl::StrFormat("%04o", info.st_mode & mode_t{07777});
}

std::string Quoted(const std::string& path) {
  const std::string inner = absl::StrReplaceAll(path, {{"'", "'\\''"}});
  return absl::StrCat("'", inner, "'");
}

// Who holds flock(2) on the file, by /proc/locks: to try it ourselves could
// keep a server from starting. Of processes that we do not see, nothing.
std::optional<pid_t> LockHolder(const struct stat& file) {
  std::ifstream locks("/proc/locks");
  std::string line;
  const std::string inode = absl::StrCat(file.st_ino);
  while (std::getline(locks, line)) {
    // "1: FLOCK  ADVISORY  WRITE 12 fe:01:131075 0 EOF"; "->" before the second
    // word is somebody who waits.
    const std::vector<std::string> words =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() < 6 || words[1] != "FLOCK") continue;
    const std::vector<std::string> id = absl::StrSplit(words[5], ':');
    if (id.size() != 3 || id[2] != inode) continue;
    const std::string device =
        absl::StrFormat("%02x:%02x", major(file.st_dev), minor(file.st_dev));
    pid_t pid = 0;
    if (absl::StrCat(id[0], ":", id[1]) == device &&
        absl::SimpleAtoi(words[4], &pid)) {
      return pid;
    }
  }
  return std::nullopt;
}

// What connect(2) says: 0, or its errno; EAGAIN for a full queue.
struct Probe {
  int error = 0;
  UniqueFd connection;
};

Probe Connect(const std::string& path) {
  Probe probe;
  probe.connection = UniqueFd(
      ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  if (!probe.connection.is_valid() ||
      ::connect(probe.connection.get(),
                reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0) {
    probe.error = errno;
  }
  return probe;
}

// The steps of the way to `path`, from "/" on, without itself.
std::vector<std::string> DirectoriesAbove(const std::string& path) {
  std::vector<std::string> directories;
  for (fs::path at = fs::path(path).parent_path(); at != at.parent_path();
       at = at.parent_path()) {
    directories.push_back(at);
  }
  directories.push_back("/");
  std::reverse(directories.begin(), directories.end());
  return directories;
}

class Doctor {
 public:
  Doctor(const UnixAddress& address, std::string_view allow_shared_directory)
      : path_(address.path()),
        name_(address.name()),
        directory_(address.directory()),
        lock_path_(
            absl::StrCat(address.directory(), "/.", address.name(), ".lock")),
        allow_shared_directory_(allow_shared_directory) {}

  Diagnosis Run() && {
    if (LookAtDirectory()) {
      LookAtLock();
      LookAtSocket();
    }
    return std::move(diagnosis_);
  }

 private:
  void Fine(std::string what) {
    diagnosis_.findings.push_back({Finding::Kind::kFine, std::move(what), ""});
  }
  void Note(std::string what, std::string remedy = "") {
    diagnosis_.findings.push_back(
        {Finding::Kind::kNote, std::move(what), std::move(remedy)});
  }
  void Problem(std::string what, std::string remedy) {
    diagnosis_.findings.push_back(
        {Finding::Kind::kProblem, std::move(what), std::move(remedy)});
  }

  // False when it cannot be entered.
  bool LookAtDirectory() {
    const auto opened = OpenDirectory(directory_);
    if (absl::IsNotFound(opened.status())) {
      Problem(absl::StrCat("there is no directory ", directory_),
              absl::StrCat("mkdir -p -m 0700 ", Quoted(directory_)));
      return false;
    }
    if (!opened.ok()) {
      Problem(absl::StrCat(UserName(::geteuid()), " cannot enter ", directory_,
                           ": ", opened.status().message()),
              FirstClosed());
      return false;
    }
    if (!opened->safe.ok() && !allow_shared_directory_.empty()) {
      Note(absl::StrCat(opened->safe.message(),
                        "; allowed, because: ", allow_shared_directory_));
    } else if (const auto server = ServerUid();
               !opened->safe.ok() && server && IsSafeFor(*server)) {
      Note(absl::StrCat(UserName(*server), ", whom the server runs as, can ",
                        "replace what is in ", directory_,
                        ", and clients of theirs accept that; a server of ",
                        UserName(::geteuid()), " does not start there"));
    } else if (!opened->safe.ok()) {
      Problem(absl::StrCat(opened->safe.message(),
                           " (where that is meant, start the server, and tell "
                           "clients, with --allow-shared-directory REASON)"),
              FirstShared());
    } else {
      Fine(absl::StrCat("nobody else can replace what is in ", directory_));
    }
    return true;
  }

  // Asked once: the queue of the server may be short.
  const Probe& Ask() {
    if (!probe_) probe_ = Connect(path_);
    return *probe_;
  }

  // Whom the server runs as, if one takes our connection.
  std::optional<uid_t> ServerUid() {
    if (Ask().error != 0) return std::nullopt;
    const auto server = PeerCredentialsOf(Ask().connection.get());
    if (!server.ok()) return std::nullopt;
    return server->uid;
  }

  // Whether nobody but `server` can replace what is in the directory.
  bool IsSafeFor(uid_t server) const {
    const auto opened = OpenDirectory(directory_, server);
    return opened.ok() && opened->safe.ok();
  }

  // How to keep others from writing to the first directory where they may.
  std::string FirstShared() const {
    for (const std::string& directory : DirectoriesAbove(path_)) {
      struct stat info;
      if (::stat(directory.c_str(), &info) != 0) continue;
      const bool is_last = directory == directory_;
      const mode_t others = is_last ? S_IWGRP | S_IWOTH : S_IWOTH;
      if ((info.st_mode & S_ISVTX) == 0 && (info.st_mode & others) != 0) {
        return absl::StrCat(is_last ? "chmod go-w " : "chmod o-w ",
                            Quoted(directory));
      }
    }
    return "choose another directory for the socket, such as one under /run";
  }

  // How to open the first directory that is closed to us.
  std::string FirstClosed() const {
    for (const std::string& directory : DirectoriesAbove(path_)) {
      struct stat info;
      if (::stat(directory.c_str(), &info) != 0) continue;
      if (!S_ISDIR(info.st_mode)) {
        return absl::StrCat("move ", Quoted(directory), " out of the way");
      }
      if (::faccessat(AT_FDCWD, directory.c_str(), X_OK, AT_EACCESS) == 0) {
        continue;
      }
      return absl::StrCat("let us in, as ", UserName(info.st_uid),
                          ": chmod go+x ", Quoted(directory));
    }
    return "";
  }

  void LookAtLock() {
    struct stat info;
    if (::lstat(lock_path_.c_str(), &info) != 0) return;
    if (!S_ISREG(info.st_mode)) {
      Problem(absl::StrCat("the lock file ", lock_path_, " is no file"),
              absl::StrCat("rm ", Quoted(lock_path_)));
      return;
    }
    holder_ = LockHolder(info);
    if (holder_) {
      Fine(absl::StrCat("the lock is held by ", ProcessName(*holder_)));
    } else if (::faccessat(AT_FDCWD, lock_path_.c_str(), R_OK | W_OK,
                           AT_EACCESS) != 0) {
      Note(
          absl::StrCat("the lock file ", lock_path_, " belongs to ",
                       UserName(info.st_uid), " (mode ", Mode(info),
                       "): a server of ", UserName(::geteuid()),
                       " cannot start here"),
          absl::StrCat("if no server of theirs runs: rm ", Quoted(lock_path_)));
    } else if (!IsUser(info.st_uid, ::geteuid()) && !IsUser(info.st_uid, 0)) {
      Note(absl::StrCat("the lock file ", lock_path_, " belongs to ",
                        UserName(info.st_uid), " (mode ", Mode(info),
                        "): servers of others may not be able to start here"));
    }
  }

  void LookAtSocket() {
    struct stat info;
    if (::lstat(path_.c_str(), &info) != 0) {
      LookAtNothing(errno);
      return;
    }
    if (!S_ISSOCK(info.st_mode)) {
      Problem(
          absl::StrCat(path_, " is not a socket: a server refuses to start"),
          absl::StrCat("mv ", Quoted(path_), " elsewhere"));
      return;
    }
    switch (Ask().error) {
      case 0:
        LookAtServer(Ask().connection.get());
        break;
      case EAGAIN:
        Problem(absl::StrCat("a server lives at ", path_,
                             ", but takes no connections: its queue is full"),
                "look at its log; it may hang");
        break;
      case ECONNREFUSED:
        LookAtStale(info);
        break;
      case EACCES:
        Problem(absl::StrCat("the socket ", path_, " (owner ",
                             UserName(info.st_uid), ", group ",
                             GroupName(info.st_gid), ", mode ", Mode(info),
                             ") is not open to ", UserName(::geteuid())),
                absl::StrCat("start the server with --group GROUP --mode 0660, "
                             "and join the group"));
        break;
      default:
        Problem(absl::StrCat("cannot connect to ", path_, ": ",
                             std::strerror(Ask().error)),
                "");
    }
    LookAtMode(info);
  }

  void LookAtNothing(int error) {
    if (error != ENOENT) {
      Problem(absl::StrCat(UserName(::geteuid()), " cannot look at ", path_,
                           ": ", std::strerror(error)),
              FirstClosed());
    } else if (holder_) {
      Problem(
          absl::StrCat("the server has lost its name: ", ProcessName(*holder_),
                       " holds the lock, but there "
                       "is no socket at ",
                       path_),
          "restart that server");
    } else if (struct stat info; ::faccessat(AT_FDCWD, directory_.c_str(),
                                             W_OK | X_OK, AT_EACCESS) != 0 &&
                                 ::stat(directory_.c_str(), &info) == 0) {
      Problem(absl::StrCat("no server: there is no socket at ", path_, ", and ",
                           UserName(::geteuid()), " may not make one in ",
                           directory_, " (owner ", UserName(info.st_uid),
                           ", mode ", Mode(info), ")"),
              absl::StrCat("start the server as ", UserName(info.st_uid)));
    } else {
      Problem(absl::StrCat("no server: there is no socket at ", path_),
              "start the server");
    }
  }

  void LookAtStale(const struct stat& info) {
    if (holder_) {
      Problem(absl::StrCat("nobody listens at ", path_, ", though ",
                           ProcessName(*holder_), " holds the lock"),
              "if that is a child which a dead server left, end it");
      return;
    }
    if (IsPrivateName(name_)) {
      Problem(absl::StrCat("a server that died as it started left ", path_),
              absl::StrCat("rm ", Quoted(path_)));
      return;
    }
    if (!IsUser(info.st_uid, ::geteuid()) && !IsUser(info.st_uid, 0)) {
      Problem(absl::StrCat("nobody listens at ", path_, ": a server of ",
                           UserName(info.st_uid),
                           " that died left the file, and one of ",
                           UserName(::geteuid()), " refuses to start"),
              absl::StrCat("rm ", Quoted(path_)));
      return;
    }
    Problem(absl::StrCat("nobody listens at ", path_,
                         ": a server that died left the file"),
            "start the server: it takes the path over");
  }

  void LookAtServer(int connection) {
    const auto server = PeerCredentialsOf(connection);
    if (!server.ok()) {
      Problem(std::string(server.status().message()), "");
      return;
    }
    Fine(absl::StrCat(ProcessName(server->pid), " listens, as ",
                      UserName(server->uid)));
    if (IsUnmappedUid(server->uid)) {
      Problem(absl::StrCat("our user namespace has no number for the user of "
                           "the server: clients here refuse it"),
              "map that user, or run clients and server in one namespace");
    } else {
      diagnosis_.server_uid = server->uid;
    }
    if (diagnosis_.server_uid && server->uid != ::geteuid()) {
      Note(absl::StrCat("the server runs as ", UserName(server->uid),
                        ", not as ", UserName(::geteuid()),
                        ": clients refuse it"),
           absl::StrCat("tell them to expect it: --server-uid ", server->uid));
    }
    if (!holder_ && server->pid != 0) {
      Note(absl::StrCat("the server holds no lock at ", lock_path_,
                        ": it was handed the socket, or is not built on "
                        "Tandem"));
    } else if (holder_ && server->pid != 0 && *holder_ != server->pid) {
      Note(absl::StrCat("the lock is held by another process, ",
                        ProcessName(*holder_), ", than who listens"));
    }
  }

  // Whom the mode invites, and whether they can come.
  void LookAtMode(const struct stat& info) {
    const bool all = (info.st_mode & S_IWOTH) != 0;
    const bool group = (info.st_mode & S_IWGRP) != 0;
    const std::string invited =
        all     ? "everybody"
        : group ? absl::StrCat("group ", GroupName(info.st_gid), " and ",
                               UserName(info.st_uid))
                : UserName(info.st_uid);
    const auto closed = FirstClosedTo(info, all);
    if ((all || group) && closed) {
      Problem(absl::StrCat("the socket's mode ", Mode(info), " is for ",
                           invited, ", but the directory ", *closed,
                           " does not let them through"),
              all ? absl::StrCat("chmod o+x ", Quoted(*closed))
                  : absl::StrCat("chgrp ", info.st_gid, " ", Quoted(*closed),
                                 " && chmod g+x ", Quoted(*closed)));
      return;
    }
    const std::string what =
        absl::StrCat("the socket is open to ", invited, " (mode ", Mode(info),
                     "), and to root; the server decides whom it serves");
    all ? Note(what) : Fine(what);
  }

  // The first directory that keeps others, or the socket's group, out.
  std::optional<std::string> FirstClosedTo(const struct stat& socket,
                                           bool all) const {
    for (const std::string& directory : DirectoriesAbove(path_)) {
      struct stat info;
      if (::stat(directory.c_str(), &info) != 0) return directory;
      const bool open = (info.st_mode & S_IXOTH) != 0 ||
                        (!all && info.st_gid == socket.st_gid &&
                         (info.st_mode & S_IXGRP) != 0);
      if (!open) return directory;
    }
    return std::nullopt;
  }

  const std::string path_;
  const std::string name_;
  const std::string directory_;
  const std::string lock_path_;
  const std::string allow_shared_directory_;
  std::optional<Probe> probe_;
  std::optional<pid_t> holder_;
  Diagnosis diagnosis_;
};

}  // namespace

Diagnosis Diagnose(const UnixAddress& address,
                   std::string_view allow_shared_directory) {
  return Doctor(address, allow_shared_directory).Run();
}

absl::StatusOr<std::vector<std::string>> FindSockets(
    const std::string& directory) {
  std::set<std::string> paths;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name.starts_with(".") && name.ends_with(".lock") && name != ".lock") {
      paths.insert(directory + "/" + name.substr(1, name.size() - 6));
    } else if (entry->symlink_status(error).type() == fs::file_type::socket) {
      paths.insert(directory + "/" + name);
    }
  }
  if (error) {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat("cannot list ", directory));
  }
  return std::vector<std::string>(paths.begin(), paths.end());
}

}  // namespace tandem::rpc

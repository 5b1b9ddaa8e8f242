#include "rpc/socket/directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unmapped_id.h"

namespace tandem::rpc {
namespace {

// As many as the kernel follows.
constexpr int kMaxLinks = 40;

// `is_last`: the directory itself, not one on the way to it.
absl::Status LookAt(const struct stat& info, const std::string& path,
                    bool is_last, std::optional<uid_t> trusted) {
  const bool is_link = S_ISLNK(info.st_mode);
  const bool owned = IsUser(info.st_uid, 0) ||
                     IsUser(info.st_uid, ::geteuid()) ||
                     (trusted && IsUser(info.st_uid, *trusted));
  const bool sticky = (info.st_mode & S_ISVTX) != 0;
  const mode_t others = is_last ? S_IWGRP | S_IWOTH : S_IWOTH;
  // A link's mode means nothing.
  const bool shared = !is_link && !sticky && (info.st_mode & others) != 0;
  const bool must_be_owned = is_link || is_last;
  if ((owned || !must_be_owned) && !shared) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat(
      "the %s %s (owner %s, mode %04o) lets others put something else in "
      "the socket's place: %s",
      is_link ? "link" : "directory", path, UidName(info.st_uid),
      info.st_mode & mode_t{07777},
      must_be_owned ? absl::StrCat("it must belong to us or to root",
                                   trusted ? " or to the server's user" : "",
                                   ", and be writable by its owner alone or "
                                   "sticky")
                    : "it must not be writable by everybody, or be sticky"));
}

// Goes from directory to directory as the kernel does.
class Walk {
 public:
  Walk(std::string path, std::optional<uid_t> trusted)
      : path_(std::move(path)), trusted_(trusted) {
    Push(path_);
  }

  absl::StatusOr<OpenedDirectory> ToTheEnd() {
    TANDEM_RETURN_IF_ERROR(Enter(AT_FDCWD, "/"));
    while (!steps_.empty()) {
      const std::string step = std::move(steps_.back());
      steps_.pop_back();
      TANDEM_RETURN_IF_ERROR(Enter(here_.get(), step));
    }
    return OpenedDirectory{std::move(here_), safe_};
  }

 private:
  // The next steps, before those that are left.
  void Push(std::string_view path) {
    while (true) {
      const std::size_t slash = path.rfind('/');
      const std::string_view name =
          slash == path.npos ? path : path.substr(slash + 1);
      if (!name.empty()) steps_.emplace_back(name);
      if (slash == path.npos) return;
      path = path.substr(0, slash);
    }
  }

  absl::Status Enter(int from, const std::string& name) {
    UniqueFd next(
        ::openat(from, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat info;
    if (!next.is_valid() || ::fstat(next.get(), &info) != 0) {
      return Failed(errno);
    }
    if (safe_.ok()) {
      safe_ = LookAt(info, NameOf(next), steps_.empty(), trusted_);
    }
    if (S_ISLNK(info.st_mode)) return Follow(next);
    if (!S_ISDIR(info.st_mode)) return Failed(ENOTDIR);
    here_ = std::move(next);
    return absl::OkStatus();
  }

  absl::Status Follow(const UniqueFd& link) {
    char target[PATH_MAX];
    const ssize_t size = ::readlinkat(link.get(), "", target, sizeof(target));
    if (size < 0) return Failed(errno);
    if (size == sizeof(target)) return Failed(ENAMETOOLONG);
    if (++links_ > kMaxLinks) return Failed(ELOOP);
    const std::string_view path(target, size);
    Push(path);
    // A relative one goes on from here.
    return path.starts_with("/") ? Enter(AT_FDCWD, "/") : absl::OkStatus();
  }

  static std::string NameOf(const UniqueFd& fd) {
    char name[PATH_MAX];
    const std::string link = absl::StrCat("/proc/self/fd/", fd.get());
    const ssize_t size = ::readlink(link.c_str(), name, sizeof(name));
    return size < 0 ? link : std::string(name, size);
  }

  absl::Status Failed(int error) const {
    return absl::ErrnoToStatus(error,
                               absl::StrCat("open the directory ", path_));
  }

  const std::string path_;
  const std::optional<uid_t> trusted_;
  // The next one last.
  std::vector<std::string> steps_;
  UniqueFd here_;
  absl::Status safe_;
  int links_ = 0;
};

}  // namespace

absl::StatusOr<OpenedDirectory> OpenDirectory(const std::string& path,
                                              std::optional<uid_t> trusted) {
  return Walk(path, trusted).ToTheEnd();
}

}  // namespace tandem::rpc

#include "rpc/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "rpc/base/fail_point.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unique_fd.h"

namespace tandem::rpc {
namespace {

absl::Status Failed(std::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(
      errno, absl::StrCat("cannot ", std::string(what), " ", path));
}

absl::Status WriteAndSync(const std::string& path, std::string_view contents,
                          mode_t mode) {
  UniqueFd fd(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!fd.is_valid()) return Failed("create", path);
  // What umask(2) took away.
  if (::fchmod(fd.get(), mode) != 0) return Failed("set the mode of", path);
  while (!contents.empty()) {
    const ssize_t n = ::write(fd.get(), contents.data(), contents.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("write", path);
    contents.remove_prefix(n);
  }
  if (::fsync(fd.get()) != 0) return Failed("sync", path);
  return absl::OkStatus();
}

absl::Status SyncDirectoryOf(const std::string& path) {
  std::string directory = std::filesystem::path(path).parent_path();
  if (directory.empty()) directory.push_back('.');
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_valid()) return Failed("open", directory);
  if (::fsync(fd.get()) != 0) return Failed("sync", directory);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_valid()) return Failed("open", path);
  std::string contents;
  char buffer[64 * 1024];
  while (true) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("read", path);
    if (n == 0) return contents;
    contents.append(buffer, n);
  }
}

absl::Status WriteFile(const std::string& path, std::string_view contents,
                       mode_t mode) {
  const std::string draft = absl::StrCat(path, ".new");
  TANDEM_RETURN_IF_ERROR(WriteAndSync(draft, contents, mode));
  FailPoint("file/drafted");
  if (std::rename(draft.c_str(), path.c_str()) != 0) {
    return Failed("create", path);
  }
  FailPoint("file/renamed");
  return SyncDirectoryOf(path);
}

absl::Status MakeDirectory(const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path name(path);
  // What is above "a/b/" is a.
  const fs::path above =
      (name.has_filename() ? name : name.parent_path()).parent_path();
  std::error_code error;
  if (!above.empty()) fs::create_directories(above, error);
  if (!error && ::mkdir(path.c_str(), 0700) != 0) {
    error.assign(errno, std::generic_category());
  }
  if (!error) return absl::OkStatus();
  std::error_code unknown;
  if (fs::is_directory(name, unknown)) return absl::OkStatus();
  if (fs::exists(name, unknown)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is there and is not a directory"));
  }
  return absl::ErrnoToStatus(error.value(),
                             absl::StrCat("cannot make the directory ", path));
}

}  // namespace tandem::rpc

#include "node/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unique_fd.h"

namespace tandem::node {
namespace {

absl::Status Failed(std::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(
      errno, absl::StrCat("cannot ", std::string(what), " ", path));
}

absl::Status WriteAndSync(const std::string& path, std::string_view contents,
                          mode_t mode) {
  rpc::UniqueFd fd(
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
  rpc::UniqueFd fd(
      ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_valid()) return Failed("open", directory);
  if (::fsync(fd.get()) != 0) return Failed("sync", directory);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  rpc::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
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
  if (std::rename(draft.c_str(), path.c_str()) != 0) {
    return Failed("create", path);
  }
  return SyncDirectoryOf(path);
}

}  // namespace tandem::node

#include "app/kvstore/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "rpc/base/status_macros.h"

namespace tandem::app {
namespace {

namespace fs = std::filesystem;

constexpr char kProgram[] = "tandem-kvstore";
constexpr int kStoreVersion = 1;
constexpr char kMarker[] = "tandem-kvstore.json";
constexpr char kDraft[] = "tandem-kvstore.json.new";
// More than any marker has.
constexpr std::size_t kMaxMarkerBytes = 4096;

absl::Status Failed(int error, const std::string& what) {
  return absl::ErrnoToStatus(error, what);
}

absl::Status NotOurs(const std::string& path, const std::string& why) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the data directory ", path, " ", why, "; name another with --data"));
}

absl::Status MakeDirectory(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return absl::OkStatus();
  if (fs::exists(path, error)) return NotOurs(path, "is not a directory");
  const fs::path parent = fs::path(path).parent_path();
  if (!parent.empty()) fs::create_directories(parent, error);
  if (!error && ::mkdir(path.c_str(), 0700) == 0) return absl::OkStatus();
  const int code = error ? error.value() : errno;
  return Failed(code, absl::StrCat("cannot make the data directory ", path));
}

absl::StatusOr<rpc::UniqueFd> Lock(const std::string& path) {
  rpc::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_valid()) {
    return Failed(errno, absl::StrCat("cannot open the data directory ", path));
  }
  if (::faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    return Failed(errno,
                  absl::StrCat("cannot write to the data directory ", path));
  }
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the data directory ", path,
        " is in use by another process: stop that tandem-kvstore first, or "
        "name another directory with --data"));
  }
  return fd;
}

// Reads the marker; kNotFound when there is none.
absl::StatusOr<std::string> ReadMarker(int directory, const std::string& path) {
  const std::string what = absl::StrCat("cannot read ", path, "/", kMarker);
  rpc::UniqueFd fd(::openat(directory, kMarker, O_RDONLY | O_CLOEXEC));
  if (!fd.is_valid()) return Failed(errno, what);
  std::string text(kMaxMarkerBytes, '\0');
  const ssize_t n = ::read(fd.get(), text.data(), text.size());
  if (n < 0) return Failed(errno, what);
  text.resize(static_cast<std::size_t>(n));
  return text;
}

absl::Status CheckMarker(const std::string& text, const std::string& path) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() ||
      json.value("program", nlohmann::json()) != kProgram) {
    return NotOurs(path, absl::StrCat("is not a tandem-kvstore's: ", kMarker,
                                      " does not say so"));
  }
  const auto version = json.value("store_version", nlohmann::json());
  if (version == kStoreVersion) return absl::OkStatus();
  return NotOurs(
      path, absl::StrCat("has store version ", version.dump(),
                         ", and this program reads version ", kStoreVersion));
}

// A directory without a marker is taken when it is empty, but for what we left
// in a crash before there was a store.
absl::Status CheckEmpty(const std::string& path) {
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name == kDraft) continue;
    return NotOurs(path, absl::StrCat("holds ", name, " but no ", kMarker,
                                      ": it is not a tandem-kvstore's"));
  }
  if (error) {
    return Failed(error.value(),
                  absl::StrCat("cannot list the data directory ", path));
  }
  return absl::OkStatus();
}

// Durable, and whole or absent after a crash.
absl::Status WriteMarker(int directory, const std::string& path) {
  const std::string what = absl::StrCat("cannot write ", path, "/", kMarker);
  const nlohmann::ordered_json json = {{"program", kProgram},
                                       {"store_version", kStoreVersion}};
  const std::string text = json.dump(2) + "\n";
  rpc::UniqueFd fd(::openat(directory, kDraft,
                            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.is_valid()) return Failed(errno, what);
  const ssize_t n = ::write(fd.get(), text.data(), text.size());
  if (n < 0) return Failed(errno, what);
  if (static_cast<std::size_t>(n) != text.size()) return Failed(ENOSPC, what);
  if (::fsync(fd.get()) != 0 ||
      ::renameat(directory, kDraft, directory, kMarker) != 0 ||
      ::fsync(directory) != 0) {
    return Failed(errno, what);
  }
  return absl::OkStatus();
}

}  // namespace

DataDirectory::DataDirectory(std::string path, rpc::UniqueFd lock)
    : path_(std::move(path)), lock_(std::move(lock)) {}

absl::StatusOr<DataDirectory> DataDirectory::Open(const std::string& path) {
  TANDEM_RETURN_IF_ERROR(MakeDirectory(path));
  TANDEM_ASSIGN_OR_RETURN(rpc::UniqueFd lock, Lock(path));
  const absl::StatusOr<std::string> marker = ReadMarker(lock.get(), path);
  if (marker.ok()) {
    TANDEM_RETURN_IF_ERROR(CheckMarker(*marker, path));
  } else if (absl::IsNotFound(marker.status())) {
    TANDEM_RETURN_IF_ERROR(CheckEmpty(path));
    TANDEM_RETURN_IF_ERROR(WriteMarker(lock.get(), path));
  } else {
    return marker.status();
  }
  return DataDirectory(path, std::move(lock));
}

}  // namespace tandem::app

#include "rpc/server/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "rpc/base/fail_point.h"
#include "rpc/base/file.h"
#include "rpc/base/status_macros.h"

namespace tandem::rpc {
namespace {

namespace fs = std::filesystem;

// Of a draft that a crash left, what it was to become.
std::string FinalName(const std::string& name) {
  constexpr std::string_view kDraft = ".new";
  return name.ends_with(kDraft) ? name.substr(0, name.size() - kDraft.size())
                                : name;
}

}  // namespace

DataDirectory::DataDirectory(Options options) : options_(std::move(options)) {}

absl::StatusOr<DataDirectory> DataDirectory::Open(Options options) {
  DataDirectory directory(std::move(options));
  TANDEM_RETURN_IF_ERROR(directory.Make());
  FailPoint("data-directory/made");
  TANDEM_RETURN_IF_ERROR(directory.CheckWritable());
  TANDEM_RETURN_IF_ERROR(directory.Lock(LOCK_EX));
  const absl::Status read = directory.ReadMarker();
  if (absl::IsNotFound(read)) {
    TANDEM_RETURN_IF_ERROR(directory.CheckUnmarked());
  } else if (!read.ok()) {
    return read;
  }
  directory.is_marked_ = read.ok();
  return directory;
}

absl::StatusOr<DataDirectory> DataDirectory::OpenToRead(Options options) {
  DataDirectory directory(std::move(options));
  TANDEM_RETURN_IF_ERROR(directory.Lock(LOCK_SH));
  const absl::Status read = directory.ReadMarker();
  if (absl::IsNotFound(read)) {
    return directory.Refusal(absl::StrCat("has no ", directory.marker(),
                                          ": it is not a ",
                                          directory.options_.program, "'s"));
  }
  TANDEM_RETURN_IF_ERROR(read);
  directory.is_marked_ = true;
  return directory;
}

std::string DataDirectory::Fact(std::string_view name) const {
  const auto found = facts_.find(name);
  return found == facts_.end() ? "" : found->second;
}

absl::Status DataDirectory::Mark(Facts facts) {
  nlohmann::ordered_json json = {{"program", options_.program},
                                 {"store_version", options_.store_version}};
  for (const auto& [name, text] : facts) json[name] = text;
  TANDEM_RETURN_IF_ERROR(WriteFile(File(marker()), json.dump(2) + "\n", 0600));
  FailPoint("data-directory/marked");
  facts_ = std::move(facts);
  is_marked_ = true;
  return absl::OkStatus();
}

std::string DataDirectory::File(std::string_view name) const {
  return absl::StrCat(options_.path, "/", std::string(name));
}

absl::Status DataDirectory::Refusal(std::string_view why) const {
  return absl::FailedPreconditionError(
      absl::StrCat("the data directory ", options_.path, " ", std::string(why),
                   "; name another with --data"));
}

absl::Status DataDirectory::Make() const {
  std::error_code unknown;
  if (fs::exists(options_.path, unknown) &&
      !fs::is_directory(options_.path, unknown)) {
    return Refusal("is not a directory");
  }
  return MakeDirectory(options_.path);
}

absl::Status DataDirectory::CheckWritable() const {
  const char* const path = options_.path.c_str();
  if (::faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(
      errno, absl::StrCat("cannot write to the data directory ", path));
}

absl::Status DataDirectory::Lock(int kind) {
  const char* const path = options_.path.c_str();
  lock_ = UniqueFd(::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock_.is_valid()) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("cannot open the data directory ", path));
  }
  if (::flock(lock_.get(), kind | LOCK_NB) == 0) return absl::OkStatus();
  if (errno != EWOULDBLOCK) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("cannot lock the data directory ", path));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the data directory ", path, " is in use by another process: stop that ",
      options_.program, " first, or name another directory with --data"));
}

absl::Status DataDirectory::ReadMarker() {
  TANDEM_ASSIGN_OR_RETURN(const std::string text, ReadFile(File(marker())));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto member = [&json](const char* name) {
    return json.value(name, nlohmann::json());
  };
  if (!json.is_object() || member("program") != options_.program) {
    return Refusal(absl::StrCat("is not a ", options_.program, "'s: ", marker(),
                                " does not say so"));
  }
  if (const auto version = member("store_version");
      version != options_.store_version) {
    return Refusal(absl::StrCat("has store version ", version.dump(),
                                ", and this program reads version ",
                                options_.store_version));
  }
  for (const auto& [name, value] : json.items()) {
    if (value.is_string()) facts_[name] = value.get<std::string>();
  }
  return absl::OkStatus();
}

absl::Status DataDirectory::CheckUnmarked() const {
  std::error_code error;
  for (fs::directory_iterator entry(options_.path, error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    const std::string final_name = FinalName(name);
    if (final_name == marker() ||
        std::count(options_.early_files.begin(), options_.early_files.end(),
                   final_name) > 0) {
      continue;
    }
    return Refusal(absl::StrCat("holds ", name, " but no ", marker(),
                                ": it is not a ", options_.program, "'s"));
  }
  if (!error) return absl::OkStatus();
  return absl::ErrnoToStatus(
      error.value(),
      absl::StrCat("cannot list the data directory ", options_.path));
}

}  // namespace tandem::rpc

#include "node/cli/pair_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"
#include "rpc/socket/unix_address.h"

namespace tandem::node {
namespace {

constexpr char kAddressesFile[] = "/run/addresses.json";
constexpr char kShortPrefix[] = "/tmp/tandem-";

// Makes `path`, for us alone, unless it is there.
absl::Status MakeDirectory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return absl::OkStatus();
  const int error = errno;
  struct stat found;
  if (error == EEXIST && ::stat(path.c_str(), &found) == 0) {
    if (S_ISDIR(found.st_mode)) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is there and is not a directory"));
  }
  return absl::ErrnoToStatus(error, absl::StrCat("mkdir ", path));
}

absl::Status MakeDirectories(const std::filesystem::path& path) {
  std::error_code error;
  if (path.has_parent_path()) {
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) {
      return absl::ErrnoToStatus(
          error.value(), absl::StrCat("mkdir ", path.parent_path().string()));
    }
  }
  for (const char* part : {"", "/run", "/app", "/node"}) {
    TANDEM_RETURN_IF_ERROR(MakeDirectory(path.string() + part));
  }
  return absl::OkStatus();
}

PairAddresses AddressesUnder(const std::string& directory) {
  return {.app = absl::StrCat("unix:", directory, "/app.sock"),
          .node = absl::StrCat("unix:", directory, "/node.sock")};
}

// True when `path` is a directory of our own that nobody else may enter.
bool IsPrivateDirectory(const std::string& path) {
  struct stat found;
  return ::lstat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode) &&
         found.st_uid == ::geteuid() && (found.st_mode & 077) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PairDirectory>> PairDirectory::Open(
    const std::string& path) {
  if (path.empty()) {
    return absl::InvalidArgumentError("--data: the directory has no name");
  }
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return absl::ErrnoToStatus(error.value(), path);
  std::string normal = absolute.lexically_normal().string();
  if (normal.size() > 1 && normal.back() == '/') normal.pop_back();
  TANDEM_RETURN_IF_ERROR(MakeDirectories(normal));
  auto directory = absl::WrapUnique(new PairDirectory(normal));
  TANDEM_RETURN_IF_ERROR(directory->Lock());
  TANDEM_RETURN_IF_ERROR(directory->ChooseAddresses());
  TANDEM_RETURN_IF_ERROR(directory->RecordAddresses());
  return directory;
}

PairDirectory::~PairDirectory() {
  if (addresses_.node.empty()) return;  // Never ours.
  ::unlink((path_ + kAddressesFile).c_str());
  std::error_code ignored;
  if (!short_directory_.empty()) {
    std::filesystem::remove_all(short_directory_, ignored);
  }
}

absl::Status PairDirectory::Lock() {
  const std::string file = path_ + "/up.lock";
  lock_ =
      rpc::UniqueFd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_.is_valid()) return absl::ErrnoToStatus(errno, "open " + file);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return absl::ErrnoToStatus(errno, "lock " + file);
    return absl::FailedPreconditionError(
        absl::StrCat("another `tandem up` runs in ", path_,
                     ": stop that one first, or give this one another --data"));
  }
  return absl::OkStatus();
}

absl::Status PairDirectory::ChooseAddresses() {
  PairAddresses usual = AddressesUnder(path_ + "/run");
  if (rpc::UnixAddress::Parse(usual.app).ok() &&
      rpc::UnixAddress::Parse(usual.node).ok()) {
    addresses_ = usual;
    return absl::OkStatus();
  }
  TANDEM_ASSIGN_OR_RETURN(short_directory_, ShortDirectory());
  addresses_ = AddressesUnder(short_directory_);
  return absl::OkStatus();
}

absl::StatusOr<std::string> PairDirectory::ShortDirectory() const {
  if (auto recorded = ReadAddresses(path_); recorded.ok()) {
    const auto address = rpc::UnixAddress::Parse(recorded->node);
    if (address.ok() && absl::StartsWith(address->directory(), kShortPrefix) &&
        IsPrivateDirectory(address->directory())) {
      return address->directory();
    }
  }
  std::string name = absl::StrCat(kShortPrefix, "XXXXXX");
  if (::mkdtemp(name.data()) == nullptr) {
    return absl::ErrnoToStatus(errno, "mkdtemp " + name);
  }
  return name;
}

absl::Status PairDirectory::RecordAddresses() const {
  const std::string file = path_ + kAddressesFile;
  const std::string draft = file + ".new";
  std::ofstream out(draft);
  out << nlohmann::ordered_json{{"app", addresses_.app},
                                {"node", addresses_.node}}
      << "\n";
  out.close();
  if (!out.good() || ::rename(draft.c_str(), file.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, "write " + file);
  }
  return absl::OkStatus();
}

absl::StatusOr<PairAddresses> PairDirectory::ReadAddresses(
    const std::string& path) {
  const std::string file = path + kAddressesFile;
  std::ifstream in(file);
  if (!in) {
    return absl::NotFoundError(
        absl::StrCat("no pair runs in ", path, " (there is no ", file,
                     "): start one with `tandem up --data ", path,
                     "`, or name a node with --node"));
  }
  const auto json = nlohmann::json::parse(in, nullptr, false);
  const auto text = [&json](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string()
               ? json[key].get<std::string>()
               : "";
  };
  PairAddresses addresses{.app = text("app"), .node = text("node")};
  if (addresses.app.empty() || addresses.node.empty()) {
    return absl::DataLossError(absl::StrCat(
        file, " is damaged: start the pair again with `tandem up --data ", path,
        "`"));
  }
  return addresses;
}

}  // namespace tandem::node

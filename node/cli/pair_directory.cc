#include "node/cli/pair_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rpc/base/file.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unmapped_id.h"
#include "rpc/socket/unix_address.h"

namespace tandem::node {
namespace {

constexpr char kAddressesFile[] = "/run/addresses.json";
constexpr char kShortPrefix[] = "/tmp/tandem-";

PairAddresses AddressesUnder(const std::string& directory) {
  return {.app = absl::StrCat("unix:", directory, "/app.sock"),
          .node = absl::StrCat("unix:", directory, "/node.sock")};
}

// True when `path` is a directory of our own that nobody else may enter.
bool IsPrivateDirectory(const std::string& path) {
  struct stat found;
  return ::lstat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode) &&
         rpc::IsUser(found.st_uid, ::geteuid()) && (found.st_mode & 077) == 0;
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
  for (const char* part : {"", "/run", "/app", "/node"}) {
    TANDEM_RETURN_IF_ERROR(rpc::MakeDirectory(normal + part));
  }
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
  const nlohmann::ordered_json json = {{"app", addresses_.app},
                                       {"node", addresses_.node}};
  return rpc::WriteFile(file, json.dump() + "\n", 0644);
}

absl::StatusOr<PairAddresses> PairDirectory::ReadAddresses(
    const std::string& path) {
  const std::string file = path + kAddressesFile;
  const absl::StatusOr<std::string> contents = rpc::ReadFile(file);
  if (absl::IsNotFound(contents.status())) {
    return absl::NotFoundError(
        absl::StrCat("no pair runs in ", path, " (there is no ", file,
                     "): start one with `tandem up --data ", path,
                     "`, or name a node with --node"));
  }
  if (!contents.ok()) return contents.status();
  const auto json = nlohmann::json::parse(*contents, nullptr, false);
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

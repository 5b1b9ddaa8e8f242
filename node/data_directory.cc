#include "node/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "node/file.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {
namespace {

namespace fs = std::filesystem;

constexpr char kProgram[] = "tandem-node";
constexpr int kStoreVersion = 1;
constexpr char kMarkerFile[] = "tandem-node.json";
constexpr char kGenesisFile[] = "genesis.json";
constexpr char kKeyFile[] = "priv_validator_key.json";

// What tandem-node.json says.
struct Marker {
  std::string chain_id;
  std::string genesis_hash;  // hexadecimal
};

absl::Status NotOurs(const std::string& path, std::string_view why) {
  return absl::FailedPreconditionError(
      absl::StrCat("the data directory ", path, " ", std::string(why),
                   "; name another with --data"));
}

absl::Status MakeDirectory(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return absl::OkStatus();
  fs::create_directories(path, error);
  if (error) {
    return absl::ErrnoToStatus(
        error.value(), absl::StrCat("cannot make the data directory ", path));
  }
  fs::permissions(path, fs::perms::owner_all, error);
  return absl::OkStatus();
}

absl::StatusOr<rpc::UniqueFd> Lock(const std::string& path) {
  rpc::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_valid()) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("cannot open the data directory ", path));
  }
  if (::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("cannot write to the data directory ", path));
  }
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the data directory ", path,
                     " is in use by another process: stop that node first"));
  }
  return fd;
}

// A directory without marker is taken when it holds nothing but what an
// operator may have put there, or we, before a crash.
absl::Status CheckUnmarked(const std::string& path) {
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; entry != end;
       entry.increment(error)) {
    const std::string stem = entry->path().filename();
    const std::string name =
        stem.ends_with(".new") ? stem.substr(0, stem.size() - 4) : stem;
    if (name == kMarkerFile || name == kGenesisFile || name == kKeyFile) {
      continue;
    }
    return NotOurs(path, absl::StrCat("holds ", stem, ", but no ", kMarkerFile,
                                      ": it is not a tandem-node's"));
  }
  if (error) return absl::ErrnoToStatus(error.value(), "cannot list " + path);
  return absl::OkStatus();
}

std::string TextOf(const nlohmann::json& json, const char* member) {
  const auto found = json.find(member);
  if (found == json.end() || !found->is_string()) return "";
  return found->get<std::string>();
}

absl::StatusOr<Marker> ReadMarker(const std::string& path) {
  const std::string file = path + "/" + kMarkerFile;
  TANDEM_ASSIGN_OR_RETURN(std::string text, ReadFile(file));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || TextOf(json, "program") != kProgram) {
    return NotOurs(path, absl::StrCat("is not a tandem-node's: ", file,
                                      " does not say so"));
  }
  const auto version = json.find("store_version");
  if (version == json.end() || *version != kStoreVersion) {
    return NotOurs(
        path, absl::StrCat("is of store version ",
                           version == json.end() ? "?" : version->dump(),
                           ", this program reads version ", kStoreVersion));
  }
  return Marker{.chain_id = TextOf(json, "chain_id"),
                .genesis_hash = TextOf(json, "genesis_hash")};
}

absl::Status WriteMarker(const std::string& path, const Marker& marker) {
  const nlohmann::ordered_json json = {{"program", kProgram},
                                       {"store_version", kStoreVersion},
                                       {"chain_id", marker.chain_id},
                                       {"genesis_hash", marker.genesis_hash}};
  return WriteFile(path + "/" + kMarkerFile, json.dump(2) + "\n", 0644);
}

// The genesis text: of the file that the operator named, else of the directory,
// else a new one. Saved in the directory.
absl::StatusOr<std::string> GenesisText(const DataDirectory::Options& options,
                                        const ValidatorKey& key) {
  const std::string own = options.path + "/" + kGenesisFile;
  const bool named = !options.genesis_file.empty();
  absl::StatusOr<std::string> text =
      ReadFile(named ? options.genesis_file : own);
  if (text.ok() && !named) return text;
  if (!text.ok() && (named || !absl::IsNotFound(text.status()))) return text;
  if (!text.ok()) text = NewGenesis(key.public_key());
  // Only what can be read again is kept.
  TANDEM_RETURN_IF_ERROR(ParseGenesis(*text).status());
  TANDEM_RETURN_IF_ERROR(WriteFile(own, *text, 0644));
  return text;
}

absl::Status CheckGenesisFile(const DataDirectory::Options& options,
                              const Marker& marker) {
  if (options.genesis_file.empty()) return absl::OkStatus();
  TANDEM_ASSIGN_OR_RETURN(std::string text, ReadFile(options.genesis_file));
  TANDEM_ASSIGN_OR_RETURN(Genesis named, ParseGenesis(text));
  if (absl::BytesToHexString(named.hash) == marker.genesis_hash) {
    return absl::OkStatus();
  }
  return NotOurs(options.path,
                 absl::StrCat("belongs to the chain \"", marker.chain_id,
                              "\", not to the one (\"", named.chain_id,
                              "\") that starts from ", options.genesis_file));
}

}  // namespace

DataDirectory::DataDirectory(std::string path, rpc::UniqueFd lock,
                             Genesis genesis, ValidatorKey key)
    : path_(std::move(path)),
      lock_(std::move(lock)),
      genesis_(std::move(genesis)),
      key_(std::move(key)) {}

absl::StatusOr<DataDirectory> DataDirectory::Open(const Options& options) {
  TANDEM_RETURN_IF_ERROR(MakeDirectory(options.path));
  TANDEM_ASSIGN_OR_RETURN(rpc::UniqueFd lock, Lock(options.path));
  absl::StatusOr<Marker> marker = ReadMarker(options.path);
  const bool is_new = absl::IsNotFound(marker.status());
  if (!marker.ok() && !is_new) return marker.status();
  if (is_new) TANDEM_RETURN_IF_ERROR(CheckUnmarked(options.path));
  if (!is_new) TANDEM_RETURN_IF_ERROR(CheckGenesisFile(options, *marker));

  TANDEM_ASSIGN_OR_RETURN(
      ValidatorKey key,
      options.validator_key_file.empty()
          ? ValidatorKey::LoadOrCreate(options.path + "/" + kKeyFile)
          : ValidatorKey::Load(options.validator_key_file));
  TANDEM_ASSIGN_OR_RETURN(std::string text,
                          is_new ? GenesisText(options, key)
                                 : ReadFile(options.path + "/" + kGenesisFile));
  TANDEM_ASSIGN_OR_RETURN(Genesis genesis, ParseGenesis(text));
  const std::string hash = absl::BytesToHexString(genesis.hash);
  if (is_new) {
    TANDEM_RETURN_IF_ERROR(WriteMarker(
        options.path, {.chain_id = genesis.chain_id, .genesis_hash = hash}));
  } else if (hash != marker->genesis_hash) {
    return NotOurs(options.path, absl::StrCat("has a changed ", kGenesisFile));
  }
  return DataDirectory(options.path, std::move(lock), std::move(genesis),
                       std::move(key));
}

}  // namespace tandem::node

#include "node/chain_directory.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "rpc/base/fail_point.h"
#include "rpc/base/file.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {
namespace {

constexpr int kStoreVersion = 2;
constexpr char kGenesisFile[] = "genesis.json";
constexpr char kKeyFile[] = "priv_validator_key.json";
constexpr char kBlocks[] = "blocks";
// In the marker.
constexpr char kChainId[] = "chain_id";
constexpr char kGenesisHash[] = "genesis_hash";

std::string HashOf(const Genesis& genesis) {
  return absl::BytesToHexString(genesis.hash);
}

// The genesis in the file at `path`, which holds `text`.
absl::StatusOr<Genesis> ParseFile(const std::string& path,
                                  const std::string& text) {
  absl::StatusOr<Genesis> genesis = ParseGenesis(text);
  if (genesis.ok()) return genesis;
  return absl::Status(genesis.status().code(),
                      absl::StrCat(path, ": ", genesis.status().message()));
}

// A new chain's genesis: of the file that the operator named, else of the
// directory, else a new one. Saved in the directory.
absl::StatusOr<Genesis> StartChain(const rpc::DataDirectory& directory,
                                   const std::string& genesis_file,
                                   const ValidatorKey& key) {
  const std::string own = directory.File(kGenesisFile);
  const bool named = !genesis_file.empty();
  const std::string& from = named ? genesis_file : own;
  absl::StatusOr<std::string> text = rpc::ReadFile(from);
  if (text.ok() && !named) return ParseFile(own, *text);
  if (!text.ok() && (named || !absl::IsNotFound(text.status()))) {
    return text.status();
  }
  if (!text.ok()) text = NewGenesis(key.public_key());
  // Only what can be read again is kept.
  TANDEM_ASSIGN_OR_RETURN(Genesis genesis, ParseFile(from, *text));
  TANDEM_RETURN_IF_ERROR(rpc::WriteFile(own, *text, 0644));
  rpc::FailPoint("node/genesis-saved");
  return genesis;
}

// The genesis of the chain that the directory is marked with.
absl::StatusOr<Genesis> ReadChain(const rpc::DataDirectory& directory) {
  const std::string own = directory.File(kGenesisFile);
  TANDEM_ASSIGN_OR_RETURN(const std::string text, rpc::ReadFile(own));
  TANDEM_ASSIGN_OR_RETURN(Genesis genesis, ParseFile(own, text));
  if (HashOf(genesis) != directory.Fact(kGenesisHash)) {
    return directory.Refusal(absl::StrCat("has a changed ", kGenesisFile));
  }
  if (genesis.chain_id != directory.Fact(kChainId)) {
    return directory.Refusal("has a changed tandem-node.json");
  }
  return genesis;
}

// A directory that is marked is of the chain that the operator named.
absl::Status CheckGenesisFile(const rpc::DataDirectory& directory,
                              const std::string& genesis_file) {
  TANDEM_ASSIGN_OR_RETURN(const std::string text, rpc::ReadFile(genesis_file));
  TANDEM_ASSIGN_OR_RETURN(const Genesis named, ParseFile(genesis_file, text));
  if (HashOf(named) == directory.Fact(kGenesisHash)) return absl::OkStatus();
  return directory.Refusal(
      absl::StrCat("belongs to the chain \"", directory.Fact(kChainId),
                   "\", not to the one (\"", named.chain_id,
                   "\") that starts from ", genesis_file));
}

}  // namespace

ChainDirectory::ChainDirectory(rpc::DataDirectory directory, Genesis genesis,
                               ValidatorKey key)
    : directory_(std::move(directory)),
      genesis_(std::move(genesis)),
      key_(std::move(key)) {}

std::string ChainDirectory::blocks() const { return directory_.File(kBlocks); }

absl::StatusOr<ChainDirectory> ChainDirectory::Open(const Options& options) {
  TANDEM_ASSIGN_OR_RETURN(
      rpc::DataDirectory directory,
      rpc::DataDirectory::Open({.path = options.path,
                                .program = "tandem-node",
                                .store_version = kStoreVersion,
                                .early_files = {kGenesisFile, kKeyFile}}));
  const bool is_new = !directory.is_marked();
  if (!is_new && !options.genesis_file.empty()) {
    TANDEM_RETURN_IF_ERROR(CheckGenesisFile(directory, options.genesis_file));
  }
  TANDEM_ASSIGN_OR_RETURN(
      ValidatorKey key,
      options.validator_key_file.empty()
          ? ValidatorKey::LoadOrCreate(directory.File(kKeyFile))
          : ValidatorKey::Load(options.validator_key_file));
  TANDEM_ASSIGN_OR_RETURN(
      Genesis genesis, is_new ? StartChain(directory, options.genesis_file, key)
                              : ReadChain(directory));
  if (is_new) {
    TANDEM_RETURN_IF_ERROR(directory.Mark(
        {{kChainId, genesis.chain_id}, {kGenesisHash, HashOf(genesis)}}));
  }
  return ChainDirectory(std::move(directory), std::move(genesis),
                        std::move(key));
}

absl::StatusOr<ChainDirectory::Reading> ChainDirectory::OpenToRead(
    const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(
      rpc::DataDirectory directory,
      rpc::DataDirectory::OpenToRead({.path = path,
                                      .program = "tandem-node",
                                      .store_version = kStoreVersion}));
  absl::StatusOr<Genesis> genesis = ReadChain(directory);
  absl::Status key = ValidatorKey::Load(directory.File(kKeyFile)).status();
  if (absl::IsNotFound(key)) key = absl::OkStatus();
  std::string blocks = directory.File(kBlocks);
  std::error_code error;
  const bool has_blocks = std::filesystem::exists(blocks, error);
  return Reading{.directory = std::move(directory),
                 .genesis = std::move(genesis),
                 .key = std::move(key),
                 .blocks = std::move(blocks),
                 .has_blocks = has_blocks};
}

}  // namespace tandem::node

#include "node/cli/node_option.h"

#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "node/cli/pair_directory.h"
#include "rpc/base/status_macros.h"
#include "rpc/server/program.h"
#include "rpc/socket/unix_address.h"

namespace tandem::node {
namespace {

// Larger than the largest block, of 100 MiB, with its results.
constexpr std::size_t kMaxMessage = 256 << 20;

}  // namespace

void AddDataOption(CLI::App& app, std::string& data) {
  data = rpc::DefaultPairPath();
  app.add_option(
         "--data", data,
         "Data directory of `tandem up`; TANDEM_DATA is another default")
      ->capture_default_str()
      ->type_name("DIR");
}

void AddSharedDirectoryOption(CLI::App& app, std::string& reason) {
  app.add_option("--allow-shared-directory", reason,
                 "Talk to servers even where others could put another socket "
                 "in their place; REASON says why those are trusted")
      ->type_name("REASON")
      ->check([](const std::string& said) {
        return said.empty() ? "say why, such as \"all of group kv\"" : "";
      });
}

NodeOption::NodeOption(CLI::App& app, const std::string& address_option) {
  app.add_option(address_option, address_,
                 "Where the node listens, such as unix:/run/node.sock "
                 "(default: the node of --data)")
      ->type_name("ADDR");
  AddDataOption(app, data_);
  app.add_option("--server-uid", server_uid_,
                 "User id that the server runs as (default: our own)")
      ->type_name("UID");
  AddSharedDirectoryOption(app, allow_shared_directory_);
}

absl::StatusOr<std::unique_ptr<rpc::Channel>> NodeOption::Connect(
    rpc::ClientWire wire) {
  if (address_.empty()) {
    TANDEM_ASSIGN_OR_RETURN(PairAddresses addresses,
                            PairDirectory::ReadAddresses(data_));
    address_ = addresses.node;
  }
  return rpc::Channel::Connect(
      address_, {.server_uid = server_uid_,
                 .allow_shared_directory = allow_shared_directory_,
                 .max_message_bytes = kMaxMessage,
                 .wire = wire});
}

absl::Status NodeOption::Explain(const absl::Status& status) const {
  if (status.ok()) return status;
  const bool is_named = absl::StrContains(status.message(), address_);
  return absl::Status(status.code(),
                      absl::StrCat(is_named ? "" : address_ + ": ",
                                   status.message(), Advice(status.code())));
}

std::string NodeOption::Advice(absl::StatusCode code) const {
  if (code == absl::StatusCode::kUnimplemented) {
    return "; is it a node? `tandem status` says what it is";
  }
  const auto address = rpc::UnixAddress::Parse(address_);
  if (code != absl::StatusCode::kUnavailable || !address.ok()) return "";
  // Without another connection, which a server that refuses us would count.
  struct stat info;
  const bool is_absent =
      ::lstat(address->path().c_str(), &info) != 0 && errno == ENOENT;
  return is_absent ? "; `tandem up` starts a pair"
                   : absl::StrCat("; `tandem doctor ", address_, "` says more");
}

}  // namespace tandem::node

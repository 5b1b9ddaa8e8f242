#include "node/cli/node_option.h"

#include "absl/strings/str_cat.h"
#include "node/cli/pair_directory.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {
namespace {

// Larger than the largest block, of 100 MiB, with its results.
constexpr std::size_t kMaxMessage = 256 << 20;

}  // namespace

void AddDataOption(CLI::App& app, std::string& data) {
  data = "tandem-data";
  app.add_option("--data", data, "Data directory of `tandem up`")
      ->envname("TANDEM_DATA")
      ->capture_default_str()
      ->type_name("DIR");
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
}

absl::StatusOr<std::unique_ptr<rpc::Channel>> NodeOption::Connect() {
  if (address_.empty()) {
    TANDEM_ASSIGN_OR_RETURN(PairAddresses addresses,
                            PairDirectory::ReadAddresses(data_));
    address_ = addresses.node;
  }
  return rpc::Channel::Connect(
      address_, {.server_uid = server_uid_, .max_message_bytes = kMaxMessage});
}

absl::Status NodeOption::Explain(const absl::Status& status) const {
  if (status.ok()) return status;
  std::string advice;
  if (absl::IsUnavailable(status)) {
    advice = "; `tandem up` starts a pair";
  } else if (absl::IsUnimplemented(status)) {
    advice = "; is it a node? `tandem status` says what it is";
  }
  return absl::Status(status.code(),
                      absl::StrCat(address_, ": ", status.message(), advice));
}

}  // namespace tandem::node

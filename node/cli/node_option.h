// Which node a command talks to.

#ifndef TANDEM_NODE_CLI_NODE_OPTION_H_
#define TANDEM_NODE_CLI_NODE_OPTION_H_

#include <sys/types.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/client/channel.h"

namespace tandem::node {

// Adds --data to a command: the data directory of `tandem up`, by default
// rpc::DefaultPairPath().
void AddDataOption(CLI::App& app, std::string& data);

// Adds --allow-shared-directory to a command: why those are trusted who could
// put another socket in the server's place. Not "" when it is given.
void AddSharedDirectoryOption(CLI::App& app, std::string& reason);

// The options --node, --data, --server-uid and --allow-shared-directory.
//
// Thread safety: thread-compatible.
class NodeOption {
 public:
  // `address_option`, such as "--node", names the node; without it, it is the
  // one of --data.
  NodeOption(CLI::App& app, const std::string& address_option);
  NodeOption(const NodeOption&) = delete;
  NodeOption& operator=(const NodeOption&) = delete;

  // Finds the node's address and makes a channel to it, which has not connected
  // yet. Errors: kNotFound, kInvalidArgument.
  absl::StatusOr<std::unique_ptr<rpc::Channel>> Connect(
      rpc::ClientWire wire = rpc::ClientWire::kTtrpc);

  // Where Connect() went.
  const std::string& address() const { return address_; }

  // `status` of a call to the node, with its address, and with what to do about
  // it where that is known.
  absl::Status Explain(const absl::Status& status) const;

 private:
  // What to do about an error; may be empty.
  std::string Advice(absl::StatusCode code) const;

  std::string address_;
  std::string data_;
  std::optional<uid_t> server_uid_;
  std::string allow_shared_directory_;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_NODE_OPTION_H_

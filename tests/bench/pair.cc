#include "tests/bench/pair.h"

#include "rpc/base/status_macros.h"

namespace tandem::bench {
namespace {

std::string AppAddress(const std::string& directory) {
  return "unix:" + directory + "/app.sock";
}

std::string NodeAddress(const std::string& directory) {
  return "unix:" + directory + "/node.sock";
}

}  // namespace

Pair::Pair(const std::string& directory) : directory_(directory) {}

absl::StatusOr<std::unique_ptr<Pair>> Pair::Start(
    const std::string& directory) {
  std::unique_ptr<Pair> pair(new Pair(directory));
  TANDEM_RETURN_IF_ERROR(pair->StartApp());
  TANDEM_RETURN_IF_ERROR(pair->StartNode());
  TANDEM_ASSIGN_OR_RETURN(pair->channel_,
                          rpc::Channel::Connect(NodeAddress(directory)));
  return pair;
}

absl::Status Pair::StartApp() {
  TANDEM_ASSIGN_OR_RETURN(
      app_,
      rpc::testing::Process::Start(
          {.command = {TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                       AppAddress(directory_), "--data", directory_ + "/app"},
           .log_path = directory_ + "/app.log"}));
  return absl::OkStatus();
}

absl::Status Pair::StartNode() {
  TANDEM_ASSIGN_OR_RETURN(
      node_,
      rpc::testing::Process::Start(
          {.command = {TANDEM_BIN_DIR "/tandem-node", "--app",
                       AppAddress(directory_), "--listen",
                       NodeAddress(directory_), "--data", directory_ + "/node"},
           .log_path = directory_ + "/node.log"}));
  return absl::OkStatus();
}

}  // namespace tandem::bench

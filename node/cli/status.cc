#include "node/cli/status.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "google/protobuf/timestamp.pb.h"
#include "node/cli/hex.h"
#include "node/cli/json.h"
#include "rpc/base/status_macros.h"
#include "rpc/client/session.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem::node {
namespace {

using Json = nlohmann::ordered_json;

constexpr absl::Duration kTimeout = absl::Seconds(5);

constexpr char kMore[] =
    "Works for the application's socket as well as for the node's.\n\n"
    "Example:\n"
    "  tandem status\n"
    "  tandem status --json unix:/run/tandem/app.sock";

std::string ToText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

std::string ToText(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0 && time.nanos() == 0) return "";
  return ToText(absl::FromUnixSeconds(time.seconds()) +
                absl::Nanoseconds(time.nanos()));
}

Json ServerJson(const rpc::v1::HelloReply& hello) {
  Json services = Json::object();
  for (const auto& service : hello.services()) {
    services[service.name()] = service.fingerprint();
  }
  return {{"name", hello.server()},
          {"framework_version", hello.framework_version()},
          {"instance", hello.instance_id()},
          {"started", ToText(absl::FromUnixNanos(hello.started_unix_nanos()))},
          {"caller",
           {{"uid", hello.caller().uid()},
            {"gid", hello.caller().gid()},
            {"pid", hello.caller().pid()},
            {"connection", hello.caller().connection_id()},
            {"wire", hello.caller().wire()}}},
          {"services", services}};
}

Json ChainJson(const v1::StatusReply& status) {
  return {{"id", status.chain_id()},
          {"height", status.height()},
          {"base_height", status.base_height()},
          {"block_hash", ToHex(status.block_hash())},
          {"block_time", ToText(status.block_time())},
          {"app_hash", ToHex(status.app_hash())},
          {"validator", ToHex(status.validator_address())}};
}

Json AppJson(const v1::AppStatus& app) {
  return {{"state", v1::AppStatus::State_Name(app.state())},
          {"reason", app.reason()},
          {"since", ToText(app.since())},
          {"address", app.address()},
          {"version", app.version()},
          {"app_version", app.app_version()},
          {"data_when_connected", app.data()},
          {"instance", app.instance_id()}};
}

Json MempoolJson(const v1::MempoolStatus& mempool) {
  return {{"transactions", mempool.transactions()},
          {"bytes", mempool.bytes()},
          {"max_transactions", mempool.max_transactions()},
          {"max_bytes", mempool.max_bytes()},
          {"max_transaction_bytes", mempool.max_transaction_bytes()}};
}

// One line per value, aligned: "chain.height  5".
void AppendText(const Json& json, const std::string& prefix,
                std::string& text) {
  for (const auto& [key, value] : json.items()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object()) {
      AppendText(value, name, text);
    } else {
      const std::string shown =
          value.is_string() ? value.get<std::string>() : value.dump();
      absl::StrAppendFormat(&text, "%-40s %s\n", name, shown);
    }
  }
}

bool Serves(const rpc::v1::HelloReply& hello, absl::string_view service) {
  for (const auto& offered : hello.services()) {
    if (offered.name() == service) return true;
  }
  return false;
}

}  // namespace

StatusCommand::StatusCommand(CLI::App& program)
    : Command(program.add_subcommand(
          "status", "Say who listens on a socket, and how it is")),
      server_(app(), "ADDR") {
  app().footer(kMore);
  app().add_flag("--json", is_json_, "Print an object");
}

absl::StatusOr<int> StatusCommand::Run(Output& output) {
  TANDEM_ASSIGN_OR_RETURN(auto channel, server_.Connect());
  const auto session = channel->OpenSession(kTimeout);
  if (!session.ok()) return server_.Explain(session.status());
  Json json{{"address", server_.address()}};
  const auto& hello = (*session)->hello();
  if (hello.ok()) {
    json["server"] = ServerJson(*hello);
  } else if (absl::IsUnimplemented(hello.status())) {
    json["server"] = {{"name", "not built on Tandem"}};
  } else {
    return server_.Explain(hello.status());
  }
  if (hello.ok() && Serves(*hello, "tandem.node.v1.Node")) {
    const auto status =
        v1::NodeClient(**session).Status({}, {.timeout = kTimeout});
    if (!status.ok()) return server_.Explain(status.status());
    json["chain"] = ChainJson(*status);
    json["app"] = AppJson(status->app());
    json["mempool"] = MempoolJson(status->mempool());
  }
  std::string text;
  if (is_json_) {
    text = OneLine(json) + "\n";
  } else {
    AppendText(json, "", text);
  }
  TANDEM_RETURN_IF_ERROR(output.Bytes(text));
  TANDEM_RETURN_IF_ERROR(output.Flush());
  return 0;
}

}  // namespace tandem::node

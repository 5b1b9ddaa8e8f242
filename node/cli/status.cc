#include "node/cli/status.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/protobuf/util/time_util.h"
#include "node/cli/hex.h"
#include "node/cli/json.h"
#include "rpc/base/status_macros.h"
#include "rpc/client/session.h"
#include "tandem/node/v1/node.tandem.h"
#include "tandem/rpc/v1/admin.tandem.h"

namespace tandem::node {
namespace {

using Json = nlohmann::ordered_json;

constexpr absl::Duration kTimeout = absl::Seconds(5);

constexpr char kMore[] =
    "Works for any server that is built on Tandem: the application, the node,\n"
    "and your own. Connections, limits and refusals are for the server's own\n"
    "user; its --allow-call tandem.rpc.v1.Admin=WHO,... says who else.\n\n"
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

Json CallerJson(const rpc::v1::CallerInfo& caller) {
  return {{"uid", caller.uid()},       {"gid", caller.gid()},
          {"groups", caller.groups()}, {"unmapped", caller.is_unmapped()},
          {"pid", caller.pid()},       {"connection", caller.connection_id()},
          {"wire", caller.wire()}};
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
          {"caller", CallerJson(hello.caller())},
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

Json AppJson(const v1::AppStatus& app, absl::Time now) {
  Json waits_for = Json::object();
  for (const v1::AppCalls& calls : app.calls()) {
    const absl::Time since = absl::FromUnixNanos(
        google::protobuf::util::TimeUtil::TimestampToNanoseconds(
            calls.since()));
    waits_for[calls.method()] = {
        {"calls", calls.count()},
        {"seconds", absl::ToDoubleSeconds(now - since)}};
  }
  return {{"state", v1::AppStatus::State_Name(app.state())},
          {"reason", app.reason()},
          {"since", ToText(app.since())},
          {"address", app.address()},
          {"version", app.version()},
          {"app_version", app.app_version()},
          {"data_when_connected", app.data()},
          {"instance", app.instance_id()},
          {"pid", app.pid()},
          {"waits_for", waits_for}};
}

Json MempoolJson(const v1::MempoolStatus& mempool) {
  return {{"transactions", mempool.transactions()},
          {"bytes", mempool.bytes()},
          {"max_transactions", mempool.max_transactions()},
          {"max_bytes", mempool.max_bytes()},
          {"max_transaction_bytes", mempool.max_transaction_bytes()}};
}

// Adds what Admin says to `json`.
void AddServerStatus(const rpc::v1::ServerStatusReply& status, absl::Time now,
                     Json& json) {
  Json& server = json["server"];
  server["pid"] = status.pid();
  server["uid"] = status.uid();
  server["listens_at"] = status.address();
  server["who_may_connect"] = status.who_may_connect();
  server["accepted_connections"] = status.accepted_connections();
  server["served_connections"] = status.served_connections();
  server["unused_connections"] = status.unused_connections();
  json["limits"] = Json::object();
  for (const auto& limit : status.limits()) {
    json["limits"][limit.name()] = {{"limit", limit.limit()},
                                    {"used", limit.used()}};
  }
  json["refusals"] = Json::object();
  for (const auto& refusal : status.refusals()) {
    json["refusals"][refusal.reason()] = refusal.count();
  }
  json["connections"] = Json::array();
  for (const auto& connection : status.connections()) {
    const absl::Time since = absl::FromUnixNanos(connection.since_unix_nanos());
    json["connections"].push_back(
        {{"caller", CallerJson(connection.caller())},
         {"since", ToText(since)},
         {"age_seconds", absl::ToInt64Seconds(now - since)},
         {"calls_in_flight", connection.calls_in_flight()},
         {"calls", connection.calls()},
         {"refused_calls", connection.refused_calls()},
         {"request_bytes", connection.request_bytes()},
         {"reply_bytes", connection.reply_bytes()}});
  }
}

// A line per connection, below what the columns are.
std::string ConnectionsText(const rpc::v1::ServerStatusReply& status,
                            absl::Time now) {
  constexpr char kLine[] =
      "%-10s %-10s %-10s %-10s %-10s %10s %9s %10s %8s "
      "%13s %11s\n";
  std::string text = absl::StrFormat(kLine, "CONNECTION", "UID", "GID", "PID",
                                     "WIRE", "AGE", "IN-FLIGHT", "CALLS",
                                     "REFUSED", "REQUEST-BYTES", "REPLY-BYTES");
  for (const auto& connection : status.connections()) {
    const auto& caller = connection.caller();
    const absl::Duration age =
        now - absl::FromUnixNanos(connection.since_unix_nanos());
    absl::StrAppendFormat(
        &text, kLine, absl::StrCat(caller.connection_id()),
        caller.is_unmapped() ? "unmapped" : absl::StrCat(caller.uid()),
        absl::StrCat(caller.gid()), absl::StrCat(caller.pid()), caller.wire(),
        absl::FormatDuration(absl::Trunc(age, absl::Seconds(1))),
        absl::StrCat(connection.calls_in_flight()),
        absl::StrCat(connection.calls()),
        absl::StrCat(connection.refused_calls()),
        absl::StrCat(connection.request_bytes()),
        absl::StrCat(connection.reply_bytes()));
  }
  return text;
}

// Why the server does not tell what Admin does, and what to do about it.
Json NotShown(std::string_view why) {
  return {{"what", "connections, limits and refusals"},
          {"why", std::string(why)}};
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
  // Servers that are too old for ttrpc are to be shown as well.
  TANDEM_ASSIGN_OR_RETURN(auto channel,
                          server_.Connect(rpc::ClientWire::kGrpc));
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
    json["app"] = AppJson(status->app(), absl::Now());
    json["mempool"] = MempoolJson(status->mempool());
  }
  std::string connections;
  if (hello.ok()) {
    const auto status =
        rpc::v1::AdminClient(**session).ServerStatus({}, {.timeout = kTimeout});
    if (status.ok()) {
      const absl::Time now = absl::Now();
      AddServerStatus(*status, now, json);
      connections = "\n" + ConnectionsText(*status, now);
    } else if (absl::IsPermissionDenied(status.status())) {
      json["not_shown"] = NotShown(absl::StrCat(
          status.status().message(), "; --allow-call tandem.rpc.v1.Admin=user:",
          hello->caller().uid(), " of the server lets us see them"));
    } else if (absl::IsUnimplemented(status.status())) {
      json["not_shown"] = NotShown(
          "the server has no tandem.rpc.v1.Admin: its Tandem is older");
    } else {
      return server_.Explain(status.status());
    }
  }
  std::string text;
  if (is_json_) {
    text = OneLine(json) + "\n";
  } else {
    json.erase("connections");  // They are lines of their own.
    AppendText(json, "", text);
    text += connections;
  }
  TANDEM_RETURN_IF_ERROR(output.Bytes(text));
  TANDEM_RETURN_IF_ERROR(output.Flush());
  return 0;
}

}  // namespace tandem::node

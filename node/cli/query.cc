#include "node/cli/query.h"

#include <cstdio>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "node/cli/hex.h"
#include "node/cli/json.h"
#include "rpc/base/status_macros.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem::node {
namespace {

constexpr char kMore[] =
    "Prints each value on a line of its own, an empty one for a key without a\n"
    "value; the exit status is 1 then.\n\n"
    "Example:\n"
    "  tandem query color size\n"
    "  tandem query --json --hex 636f6c6f72";

std::string ToJson(const std::string& key, const v1::QueryReply& reply) {
  return OneLine({{"key", key},
                  {"key_hex", ToHex(key)},
                  {"value", reply.value()},
                  {"value_hex", ToHex(reply.value())},
                  {"code", reply.code()},
                  {"log", reply.log()},
                  {"height", reply.height()}});
}

// What to say when there is no value.
std::string WhyNone(const std::string& key, const v1::QueryReply& reply) {
  std::string text = absl::StrCat(key, ": no value at height ", reply.height());
  if (reply.code() != 0) absl::StrAppend(&text, ", code ", reply.code());
  if (!reply.log().empty()) absl::StrAppend(&text, ": ", reply.log());
  return text;
}

}  // namespace

QueryCommand::QueryCommand(CLI::App& program)
    : Command(program.add_subcommand(
          "query", "Ask the application about committed state")),
      node_(app(), "--node") {
  app().footer(kMore);
  app().add_option("KEY", keys_, "What to look up")->required();
  app().add_option("--path", path_,
                   "What kind of question it is, as the application defines");
  app().add_flag("--hex", is_hex_,
                 "KEY, and the value printed, are hexadecimal digits");
  app().add_flag("--json", is_json_, "Print an object");
}

absl::StatusOr<int> QueryCommand::Run(Output& output) {
  TANDEM_ASSIGN_OR_RETURN(auto channel, node_.Connect());
  v1::NodeClient client(*channel);
  bool has_all = true;
  for (const std::string& key : keys_) {
    TANDEM_ASSIGN_OR_RETURN(const bool has_value, Ask(client, key, output));
    has_all = has_all && has_value;
  }
  TANDEM_RETURN_IF_ERROR(output.Flush());
  return has_all ? 0 : 1;
}

absl::StatusOr<bool> QueryCommand::Ask(v1::NodeClient& client,
                                       const std::string& text,
                                       Output& output) const {
  std::string key = text;
  if (is_hex_) {
    TANDEM_ASSIGN_OR_RETURN(key, FromHex(text));
  }
  v1::QueryRequest request;
  request.set_path(path_);
  request.set_data(key);
  const auto reply = client.Query(request);
  if (!reply.ok()) return node_.Explain(reply.status());

  const bool has_value = reply->code() == 0 && !reply->value().empty();
  if (!has_value && !is_json_) {
    absl::FPrintF(stderr, "%s\n", WhyNone(text, *reply));
  }
  TANDEM_RETURN_IF_ERROR(output.Line(is_json_  ? ToJson(key, *reply)
                                     : is_hex_ ? ToHex(reply->value())
                                               : reply->value()));
  return has_value;
}

}  // namespace tandem::node

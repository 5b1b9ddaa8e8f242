#include "node/cli/transaction.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "node/cli/hex.h"
#include "node/cli/json.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {
namespace {

constexpr char kMore[] =
    "HASH is the SHA-256 of the transaction, as `tandem submit --json` prints\n"
    "it and `sha256sum` makes it. The exit status is 1 unless all are "
    "committed\n"
    "with code 0.\n\n"
    "Example:\n"
    "  tandem tx $(printf color=blue | sha256sum | cut -d' ' -f1)";

// The answer, where there is none the words of the node.
std::string ToText(const std::string& hash,
                   const absl::StatusOr<v1::GetTransactionReply>& reply) {
  if (!reply.ok()) return absl::StrCat(hash, ": ", reply.status().message());
  if (reply->state() != v1::GetTransactionReply::COMMITTED) {
    return absl::StrCat(hash, ": waits for a block");
  }
  const v1::TxResult& result = reply->result();
  std::string text =
      absl::StrCat(hash, ": committed in block ", result.height(), ", place ",
                   result.index(), ", code ", result.code());
  if (!result.log().empty()) absl::StrAppend(&text, ": ", result.log());
  return text;
}

std::string ToJson(const std::string& hash,
                   const absl::StatusOr<v1::GetTransactionReply>& reply) {
  if (!reply.ok()) {
    return OneLine({{"hash", hash},
                    {"state", "not found"},
                    {"message", std::string(reply.status().message())}});
  }
  if (reply->state() != v1::GetTransactionReply::COMMITTED) {
    return OneLine({{"hash", hash}, {"state", "pending"}});
  }
  const v1::TxResult& result = reply->result();
  return OneLine({{"hash", hash},
                  {"state", "committed"},
                  {"height", result.height()},
                  {"index", result.index()},
                  {"code", result.code()},
                  {"log", result.log()},
                  {"data_hex", ToHex(result.data())}});
}

}  // namespace

TransactionCommand::TransactionCommand(CLI::App& program)
    : Command(program.add_subcommand("tx", "Say what became of transactions")),
      node_(app(), "--node") {
  app().footer(kMore);
  app().add_option("HASH", hashes_, "64 hexadecimal digits")->required();
  app().add_flag("--json", is_json_, "Print an object for each");
}

absl::StatusOr<int> TransactionCommand::Run(Output& output) {
  TANDEM_ASSIGN_OR_RETURN(auto channel, node_.Connect());
  v1::NodeClient client(*channel);
  bool has_all = true;
  for (const std::string& hash : hashes_) {
    TANDEM_ASSIGN_OR_RETURN(const bool is_well, Ask(client, hash, output));
    has_all = has_all && is_well;
  }
  TANDEM_RETURN_IF_ERROR(output.Flush());
  return has_all ? 0 : 1;
}

absl::StatusOr<bool> TransactionCommand::Ask(v1::NodeClient& client,
                                             const std::string& text,
                                             Output& output) const {
  v1::GetTransactionRequest request;
  TANDEM_ASSIGN_OR_RETURN(*request.mutable_hash(), FromHex(text));
  const auto reply = client.GetTransaction(request);
  if (!reply.ok() && !absl::IsNotFound(reply.status())) {
    return node_.Explain(reply.status());
  }
  TANDEM_RETURN_IF_ERROR(
      output.Line(is_json_ ? ToJson(text, reply) : ToText(text, reply)));
  return reply.ok() && reply->state() == v1::GetTransactionReply::COMMITTED &&
         reply->result().code() == 0;
}

}  // namespace tandem::node

#include "node/cli/trace.h"

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "node/cli/json.h"
#include "proto/abci/contract_checker.h"
#include "proto/abci/trace_file.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kMore[] =
    "`tandem-node --record FILE` writes such a file, and so does\n"
    "`tandem-kvstore --record FILE` whatever node drives it. The rules are\n"
    "those of proto/PROTOCOL.md. A last record that a crash has cut is left\n"
    "out.\n\n"
    "Example:\n"
    "  tandem trace check /tmp/trace\n"
    "  tandem trace show /tmp/trace | grep finalizeBlock";

absl::StatusOr<Json> ToJson(std::int64_t number,
                            const abci::v1::TraceRecord& record) {
  std::string text;
  const auto status =
      google::protobuf::util::MessageToJsonString(record, &text);
  if (!status.ok()) {
    return absl::DataLossError(
        absl::StrCat("record ", number,
                     " cannot be printed: ", std::string(status.message())));
  }
  Json json = {{"record", number}};
  json.update(Json::parse(text));
  return json;
}

}  // namespace

TraceCommand::TraceCommand(CLI::App& program)
    : Command(program.add_subcommand(
          "trace", "Read what a node and its application said to each other")),
      check_(app().add_subcommand(
          "check", "Say what in it is against the app contract")),
      show_(app().add_subcommand("show", "Print each record as JSON")) {
  app().footer(kMore);
  app().require_subcommand(1);
  for (CLI::App* command : {check_, show_}) {
    command->add_option("FILE", path_, "What --record wrote")
        ->required()
        ->type_name("");
  }
  check_->add_flag("--allow-older-state", allow_older_state_,
                   "The application's data was replaced by older data, on "
                   "purpose");
  check_->add_flag("--json", is_json_, "Print an object per finding");
}

absl::StatusOr<int> TraceCommand::Run(Output& output) {
  return check_->parsed() ? Check(output) : Show(output);
}

absl::StatusOr<int> TraceCommand::Check(Output& output) const {
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<abci::TraceReader> reader,
                          abci::TraceReader::Open(path_));
  abci::ContractChecker checker({.allow_older_state = allow_older_state_});
  std::int64_t found = 0;
  while (true) {
    TANDEM_ASSIGN_OR_RETURN(const auto record, reader->Next());
    if (!record) break;
    checker.Take(*record);
    for (const abci::Violation& violation : checker.TakeViolations()) {
      ++found;
      TANDEM_RETURN_IF_ERROR(output.Line(
          is_json_ ? OneLine({{"record", violation.record},
                              {"rule", violation.rule},
                              {"what", violation.what}})
                   : absl::StrCat("record ", violation.record, ": ",
                                  violation.rule, ": ", violation.what)));
    }
  }
  if (!is_json_) {
    TANDEM_RETURN_IF_ERROR(output.Line(absl::StrCat(
        checker.records(), " records, ", found, " against the app contract",
        reader->is_cut() ? "; a last one was cut, and left out" : "")));
  }
  return found > 0 ? 1 : 0;
}

absl::StatusOr<int> TraceCommand::Show(Output& output) const {
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<abci::TraceReader> reader,
                          abci::TraceReader::Open(path_));
  for (std::int64_t number = 1;; ++number) {
    TANDEM_ASSIGN_OR_RETURN(const auto record, reader->Next());
    if (!record) return 0;
    TANDEM_ASSIGN_OR_RETURN(const Json json, ToJson(number, *record));
    TANDEM_RETURN_IF_ERROR(output.Line(OneLine(json)));
  }
}

}  // namespace tandem::node

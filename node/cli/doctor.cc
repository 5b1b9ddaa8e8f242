#include "node/cli/doctor.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "node/cli/data_check.h"
#include "node/cli/json.h"
#include "node/cli/node_option.h"
#include "node/cli/pair_directory.h"
#include "rpc/base/status_macros.h"
#include "rpc/client/channel.h"
#include "rpc/socket/diagnosis.h"

namespace tandem::node {
namespace {

namespace fs = std::filesystem;
using rpc::Finding;
using Json = nlohmann::ordered_json;

constexpr absl::Duration kTimeout = absl::Seconds(2);

constexpr char kMore[] =
    "Looks at directories, lock, owner, mode, and at who listens, and changes\n"
    "nothing. With --data, looks instead at what a pair keeps, which must not\n"
    "run: checksums, hashes, the chain of blocks, the index of transactions,\n"
    "and whether application and node belong together. The exit status is 1\n"
    "when there is a problem.\n\n"
    "Example:\n"
    "  tandem doctor\n"
    "  tandem doctor unix:/run/tandem/app.sock\n"
    "  tandem doctor --json /run/tandem\n"
    "  tandem doctor --data ./tandem-data";

// The addresses that `target` means: one, or those of a directory.
absl::StatusOr<std::vector<std::string>> AddressesOf(
    const std::string& target) {
  if (target.starts_with("unix:")) return std::vector{target};
  std::error_code error;
  if (!fs::is_directory(target, error)) return std::vector{"unix:" + target};
  const auto pair = PairDirectory::ReadAddresses(target);
  if (pair.ok()) return std::vector{pair->app, pair->node};
  const std::string run = target + "/run";
  TANDEM_ASSIGN_OR_RETURN(
      std::vector<std::string> paths,
      rpc::FindSockets(fs::is_directory(run, error) ? run : target));
  for (std::string& path : paths) path.insert(0, "unix:");
  if (!paths.empty()) return paths;
  return absl::NotFoundError(absl::StrCat(
      "there is no socket in ", target,
      ", nor a trace of one: `tandem up --data DIR` starts a pair"));
}

// Whether the server, which runs as `uid`, answers us.
Finding SayHello(const std::string& address, uid_t uid,
                 const std::string& allow_shared_directory) {
  const auto channel = rpc::Channel::Connect(
      address,
      // Which servers that are no Tandem's, or are old, speak as well.
      {.server_uid = uid,
       .allow_shared_directory = allow_shared_directory,
       .wire = rpc::ClientWire::kGrpc});
  if (!channel.ok()) {
    return {Finding::Kind::kProblem, std::string(channel.status().message()),
            ""};
  }
  const auto session = (*channel)->OpenSession(kTimeout);
  const absl::Status hello =
      session.ok() ? (*session)->hello().status() : session.status();
  if (hello.ok()) {
    return {Finding::Kind::kFine,
            absl::StrCat("it is ", (*session)->hello()->server(),
                         ", and serves uid ", ::geteuid()),
            ""};
  }
  if (absl::IsUnimplemented(hello)) {
    return {Finding::Kind::kNote, "it speaks gRPC, but is not built on Tandem",
            ""};
  }
  if (absl::IsDeadlineExceeded(hello)) {
    return {Finding::Kind::kProblem, std::string(hello.message()),
            "it was stopped (kill -CONT lets it go on), hangs, or is no server "
            "of this kind: its log may say more; else end it, and start it "
            "again"};
  }
  return {Finding::Kind::kProblem,
          absl::StrCat("it does not serve uid ", ::geteuid(), ": ",
                       hello.message()),
          absl::StrCat("start it with --allow-user ", ::geteuid(),
                       ", if it is to; its log has the reason")};
}

std::vector<Finding> Examine(const std::string& text,
                             const std::string& allow_shared_directory) {
  const auto address = rpc::UnixAddress::Parse(text);
  if (!address.ok()) {
    return {{Finding::Kind::kProblem, std::string(address.status().message()),
             "choose another path for the socket, such as one under /run"}};
  }
  rpc::Diagnosis diagnosis = rpc::Diagnose(*address, allow_shared_directory);
  if (diagnosis.server_uid) {
    diagnosis.findings.push_back(
        SayHello(text, *diagnosis.server_uid, allow_shared_directory));
  }
  return std::move(diagnosis.findings);
}

const char* KindName(Finding::Kind kind) {
  switch (kind) {
    case Finding::Kind::kFine:
      return "fine";
    case Finding::Kind::kNote:
      return "note";
    case Finding::Kind::kProblem:
      return "problem";
  }
  return "";
}

bool HasProblem(const std::vector<Finding>& findings) {
  return std::ranges::any_of(findings, [](const Finding& finding) {
    return finding.kind == Finding::Kind::kProblem;
  });
}

// On one line, and of nothing that a terminal obeys: in a shared directory
// others choose the names of files, and of the processes that hold them.
std::string Printable(std::string_view text) {
  std::string printable;
  for (const char c : text) {
    if (absl::ascii_iscntrl(c)) {
      absl::StrAppendFormat(&printable, "\\x%02x", c);
    } else {
      printable += c;
    }
  }
  return printable;
}

std::string ToText(const std::string& address,
                   const std::vector<Finding>& findings) {
  std::string text = Printable(address) + "\n";
  for (const Finding& finding : findings) {
    absl::StrAppend(&text, "  ", KindName(finding.kind), ": ",
                    Printable(finding.what), "\n");
    if (!finding.remedy.empty()) {
      absl::StrAppend(&text, "    mend: ", Printable(finding.remedy), "\n");
    }
  }
  return text;
}

Json ToJson(const std::string& address, const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"kind", KindName(finding.kind)},
                    {"what", finding.what},
                    {"remedy", finding.remedy}});
  }
  return {{"address", address}, {"findings", std::move(list)}};
}

}  // namespace

DoctorCommand::DoctorCommand(CLI::App& program)
    : Command(program.add_subcommand(
          "doctor", "Say what is wrong with a socket, and how to mend it")) {
  app().footer(kMore);
  CLI::Option* const target =
      app()
          .add_option(
              "TARGET", target_,
              "A socket, or a directory that servers listen in, such as "
              "that of `tandem up`; TANDEM_DATA is another default")
          ->capture_default_str()
          ->type_name("ADDR|DIR");
  app()
      .add_option("--data", data_,
                  "Examine the data of a pair that does not run: the directory "
                  "of `tandem up`, with app/ and node/")
      ->type_name("DIR")
      ->excludes(target);
  AddSharedDirectoryOption(app(), allow_shared_directory_);
  app().add_flag("--json", is_json_,
                 "Print an object per socket, or directory");
}

absl::StatusOr<int> DoctorCommand::ExamineData(Output& output) const {
  TANDEM_ASSIGN_OR_RETURN(const std::vector<DataReport> reports,
                          CheckData(data_));
  bool has_problem = false;
  for (const DataReport& report : reports) {
    has_problem |= HasProblem(report.findings);
    TANDEM_RETURN_IF_ERROR(
        is_json_ ? output.Line(OneLine(report.json))
                 : output.Bytes(ToText(report.directory, report.findings)));
  }
  return has_problem ? 1 : 0;
}

absl::StatusOr<int> DoctorCommand::Run(Output& output) {
  if (!data_.empty()) return ExamineData(output);
  TANDEM_ASSIGN_OR_RETURN(const std::vector<std::string> addresses,
                          AddressesOf(target_));
  bool has_problem = false;
  for (const std::string& address : addresses) {
    const std::vector<Finding> findings =
        Examine(address, allow_shared_directory_);
    has_problem |= HasProblem(findings);
    TANDEM_RETURN_IF_ERROR(is_json_
                               ? output.Line(OneLine(ToJson(address, findings)))
                               : output.Bytes(ToText(address, findings)));
  }
  return has_problem ? 1 : 0;
}

}  // namespace tandem::node

#include "node/cli/data_check.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "node/cli/progress.h"
#include "node/store_check.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unique_fd.h"

namespace tandem::node {
namespace {

using rpc::Finding;
using Json = nlohmann::ordered_json;

constexpr char kAppProgram[] = "tandem-kvstore";

// What a program that has ended wrote, and its exit status; -1 for a signal.
struct Ended {
  int status = -1;
  std::string out;  // with what it wrote to standard error
};

absl::StatusOr<Ended> RunToEnd(std::vector<std::string> argv) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  const rpc::UniqueFd read_end(ends[0]);
  rpc::UniqueFd write_end(ends[1]);
  std::vector<char*> pointers;
  for (std::string& argument : argv) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    ::posix_spawn_file_actions_adddup2(&actions, write_end.get(), fd);
  }
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, argv[0].c_str(), &actions, nullptr,
                                  pointers.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::ErrnoToStatus(error, absl::StrCat("cannot run ", argv[0]));
  }
  write_end.Reset();
  Ended ended;
  char buffer[4096];
  while (true) {
    const ssize_t got = ::read(read_end.get(), buffer, sizeof buffer);
    if (got > 0) ended.out.append(buffer, static_cast<std::size_t>(got));
    if (got == 0 || (got < 0 && errno != EINTR)) break;
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) ended.status = WEXITSTATUS(status);
  return ended;
}

Json ToJson(const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& finding : findings) {
    list.push_back(
        {{"kind", finding.kind == Finding::Kind::kProblem ? "problem" : "fine"},
         {"what", finding.what},
         {"remedy", finding.remedy}});
  }
  return list;
}

Finding Problem(std::string what, std::string remedy = "") {
  return {Finding::Kind::kProblem, std::move(what), std::move(remedy)};
}

// Also says where the application is, unless there is a problem.
absl::StatusOr<DataReport> CheckApp(const std::string& directory,
                                    std::optional<AppPosition>& position) {
  std::error_code error;
  const auto ours = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::ErrnoToStatus(error.value(), "/proc/self/exe");
  TANDEM_ASSIGN_OR_RETURN(Ended ended,
                          RunToEnd({ours.parent_path() / kAppProgram, "--check",
                                    "--json", "--data", directory}));
  DataReport report{.directory = directory, .findings = {}, .json = {}};
  report.json["data"] = directory;
  report.json["program"] = kAppProgram;
  const Json found = Json::parse(ended.out, nullptr, false);
  if (ended.status != 0 || !found.is_object()) {
    const std::string said(absl::StripPrefix(
        absl::StripAsciiWhitespace(ended.out), "tandem-kvstore: "));
    report.findings.push_back(Problem(
        said.empty() ? absl::StrCat(kAppProgram, " --check ended") : said));
  } else {
    const std::string hash = found.value("app_hash", "");
    position = AppPosition{.height = found.value("height", std::int64_t{0}),
                           .app_hash = absl::HexStringToBytes(hash)};
    report.json.update(found);
    report.findings.push_back(
        {Finding::Kind::kFine,
         absl::StrCat("all can be read: height ", position->height,
                      ", app hash ", hash),
         ""});
  }
  report.json["findings"] = ToJson(report.findings);
  return report;
}

Finding ToFinding(const StoreReport::Fault& fault) {
  return Problem(fault.height == 0
                     ? fault.what
                     : absl::StrCat("block ", fault.height, ": ", fault.what),
                 fault.remedy);
}

DataReport CheckNode(const std::string& directory,
                     const std::optional<AppPosition>& app) {
  DataReport report{.directory = directory, .findings = {}, .json = {}};
  report.json["data"] = directory;
  report.json["program"] = "tandem-node";
  Progress progress;
  const auto found = CheckStore(
      directory, app, [&progress](std::int64_t done, std::int64_t all) {
        progress.Show(static_cast<std::uint64_t>(done),
                      static_cast<std::uint64_t>(all), "blocks");
      });
  progress.Clear();
  if (!found.ok()) {
    report.findings.push_back(Problem(std::string(found.status().message())));
    report.json["findings"] = ToJson(report.findings);
    return report;
  }
  for (const StoreReport::Fault& fault : found->faults) {
    report.findings.push_back(ToFinding(fault));
  }
  if (found->faults.empty()) {
    report.findings.push_back(
        {Finding::Kind::kFine,
         absl::StrCat("blocks ", found->first_block, " to ", found->last_block,
                      " with ", found->transactions,
                      " transactions are whole; the state is that of height ",
                      found->height),
         ""});
    if (app) {
      report.findings.push_back(
          {Finding::Kind::kFine, "the application belongs to it", ""});
    }
  }
  report.json.update({{"chain_id", found->chain_id},
                      {"height", found->height},
                      {"app_hash", absl::BytesToHexString(found->app_hash)},
                      {"first_block", found->first_block},
                      {"last_block", found->last_block},
                      {"transactions", found->transactions}});
  report.json["findings"] = ToJson(report.findings);
  for (std::size_t i = 0; i < found->faults.size(); ++i) {
    report.json["findings"][i]["height"] = found->faults[i].height;
  }
  return report;
}

}  // namespace

absl::StatusOr<std::vector<DataReport>> CheckData(const std::string& path) {
  std::optional<AppPosition> position;
  TANDEM_ASSIGN_OR_RETURN(DataReport app, CheckApp(path + "/app", position));
  DataReport node = CheckNode(path + "/node", position);
  return std::vector<DataReport>{std::move(app), std::move(node)};
}

}  // namespace tandem::node

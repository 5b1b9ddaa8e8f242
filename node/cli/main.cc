// The tandem program: runs a pair of processes, and talks to nodes.

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "node/cli/command.h"
#include "node/cli/doctor.h"
#include "node/cli/output.h"
#include "node/cli/query.h"
#include "node/cli/status.h"
#include "node/cli/submit.h"
#include "node/cli/trace.h"
#include "node/cli/transaction.h"
#include "node/cli/up.h"
#include "node/cli/watch.h"
#include "rpc/base/standard_descriptors.h"
#include "rpc/base/version.h"
#include "rpc/server/protobuf_log.h"
#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"

namespace tandem::node {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;
// What a shell reports for a program that SIGPIPE ended.
constexpr int kPipeClosed = 128 + SIGPIPE;

int Run(Command& command) {
  Output output;
  absl::StatusOr<int> status = command.Run(output);
  if (absl::Status flushed = output.Flush(); status.ok() && !flushed.ok()) {
    status = flushed;
  }
  if (output.is_closed()) return kPipeClosed;
  if (status.ok()) return *status;
  absl::FPrintF(stderr, "tandem: %s\n", status.status().message());
  return kFailed;
}

int Main(int argc, char** argv) {
  if (!rpc::StandardDescriptors().ok()) return kFailed;
  // Standard output is for answers alone.
  spdlog::set_default_logger(spdlog::stderr_color_mt("tandem"));
  rpc::LogProtobufBySpdlog();
  std::signal(SIGPIPE, SIG_IGN);  // Output sees that its reader is gone.
  CLI::App program(
      "Runs a pair of processes, an application and a node, and "
      "talks to nodes.");
  program.name("tandem");
  program.set_version_flag("--version", std::string(rpc::FrameworkVersion()));
  program.require_subcommand(1);
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(std::make_unique<UpCommand>(program));
  commands.push_back(std::make_unique<SubmitCommand>(program));
  commands.push_back(std::make_unique<TransactionCommand>(program));
  commands.push_back(std::make_unique<QueryCommand>(program));
  commands.push_back(std::make_unique<StatusCommand>(program));
  commands.push_back(std::make_unique<WatchCommand>(program));
  commands.push_back(std::make_unique<DoctorCommand>(program));
  commands.push_back(std::make_unique<TraceCommand>(program));
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? 0 : kUsage;
  }
  for (const auto& command : commands) {
    if (command->is_chosen()) return Run(*command);
  }
  return kUsage;
}

}  // namespace
}  // namespace tandem::node

int main(int argc, char** argv) { return tandem::node::Main(argc, argv); }

// The tandem-kvstore program: serves the key-value store to a node.

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "app/abci_service.h"
#include "app/abci_socket_wire.h"
#include "app/checked_application.h"
#include "app/kvstore/kv_store.h"
#include "proto/abci/trace_file.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/version.h"
#include "rpc/server/notify.h"
#include "rpc/server/program.h"
#include "rpc/server/server.h"
#include "rpc/server/termination.h"
#include "spdlog/spdlog.h"

namespace tandem::app {
namespace {

// What calls in flight have to finish after SIGTERM.
constexpr absl::Duration kStopTimeout = absl::Seconds(10);

// Larger than a FinalizeBlock with the largest block, of 100 MiB.
constexpr std::size_t kMaxMessage = 128 << 20;

constexpr char kFooter[] =
    "Stops on SIGTERM or Ctrl-C, after what it is working on.\n\n"
    "Example:\n"
    "  tandem-kvstore --listen unix:/run/kv/app.sock --data /var/lib/kv\n\n"
    "and a node that uses it, Tandem's or CometBFT:\n"
    "  tandem-node --app unix:/run/kv/app.sock ...\n"
    "  cometbft start --abci grpc --proxy_app unix:///run/kv/app.sock";

std::string ProgramName() {
  return absl::StrCat("tandem-kvstore ", std::string(rpc::FrameworkVersion()));
}

absl::Status Run(const rpc::ProgramOptions& program,
                 const std::string& record) {
  TANDEM_ASSIGN_OR_RETURN(rpc::ServerOptions options,
                          program.ReadServerOptions());
  TANDEM_ASSIGN_OR_RETURN(const std::string data, program.ReadDataDirectory());
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<rpc::Termination> termination,
                          rpc::Termination::Create());
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<KvStore> store, KvStore::Open(data));
  TANDEM_ASSIGN_OR_RETURN(const abci::ResponseInfo info, store->Info({}));
  std::unique_ptr<::tandem::abci::TraceWriter> trace;
  std::unique_ptr<CheckedApplication> checked;
  if (!record.empty()) {
    TANDEM_ASSIGN_OR_RETURN(trace, ::tandem::abci::TraceWriter::Open(record));
    checked = std::make_unique<CheckedApplication>(
        *store, ProgramName(),
        CheckedApplication::Options{.record = trace.get()});
  }
  Application& application =
      checked ? static_cast<Application&>(*checked) : *store;
  AbciService service(application);
  options.name = ProgramName();
  options.max_message_bytes = kMaxMessage;
  options.services = {Serve(service)};
  AbciSocketWire socket_wire;
  options.wires = {&socket_wire};
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<rpc::Server> server,
                          rpc::Server::Start(std::move(options)));
  spdlog::info("listening on {}, data in {}, height {}", server->address(),
               data, info.last_block_height());
  rpc::NotifyReady(absl::StrCat("listening on ", server->address()));
  server->WaitUntilOver(*termination);
  rpc::NotifyStopping();
  // A handler that is left behind still uses the store.
  if (!server->Stop(kStopTimeout)) std::_Exit(1);
  spdlog::info("stopped");
  return absl::OkStatus();
}

// One line on standard output: text, or an object.
void Print(const KvStore::Summary& found, bool is_json) {
  const std::string hash = absl::BytesToHexString(found.app_hash);
  const std::string line =
      is_json ? nlohmann::ordered_json({{"height", found.height},
                                        {"app_hash", hash},
                                        {"transactions", found.transactions},
                                        {"keys", found.keys}})
                    .dump()
              : absl::StrCat("fine: height ", found.height, ", app hash ", hash,
                             ", ", found.transactions, " transactions, ",
                             found.keys, " keys");
  std::printf("%s\n", line.c_str());
}

absl::Status Check(const rpc::ProgramOptions& program, bool is_json) {
  TANDEM_ASSIGN_OR_RETURN(const std::string data, program.ReadDataDirectory());
  TANDEM_ASSIGN_OR_RETURN(const KvStore::Summary found, KvStore::Check(data));
  Print(found, is_json);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App program(
      "Serves a durable key-value store to a node (ABCI, over gRPC or the "
      "socket "
      "protocol).",
      "tandem-kvstore");
  program.set_version_flag("--version", ProgramName());
  program.footer(kFooter);
  const rpc::ProgramOptions options(program, "app");
  std::string record;
  program
      .add_option("--record", record,
                  "Append each of the node's calls, and its answer, to FILE, "
                  "for `tandem trace`, and log what is against the contract")
      ->type_name("FILE");
  bool is_check = false;
  bool is_json = false;
  CLI::Option* const check = program.add_flag(
      "--check", is_check,
      "Read all of the data and say what it is, instead of serving; nothing is "
      "changed");
  program.add_flag("--json", is_json, "Say it as an object")->needs(check);
  return rpc::RunProgram(program, argc, argv, [&] {
    return is_check ? Check(options, is_json) : Run(options, record);
  });
}

}  // namespace
}  // namespace tandem::app

int main(int argc, char** argv) { return tandem::app::Main(argc, argv); }

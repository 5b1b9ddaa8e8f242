// The tandem-node program: orders transactions, makes them durable, and drives
// an application.

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "node/block_store.h"
#include "node/data_directory.h"
#include "node/node.h"
#include "node/node_service.h"
#include "node/subscriptions.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/version.h"
#include "rpc/client/channel.h"
#include "rpc/server/server.h"
#include "rpc/server/termination.h"
#include "rpc/socket/unix_address.h"
#include "rpc/socket/unix_listener.h"
#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"

namespace tandem::node {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

// After SIGTERM: for calls in flight, then for the block in work.
constexpr absl::Duration kStopCalls = absl::Seconds(5);
constexpr absl::Duration kStopBlock = absl::Seconds(5);
// Larger than the largest block.
constexpr std::size_t kMaxAppMessage = 256 << 20;

constexpr char kFooter[] =
    "Waits for the application when it is not there, and brings it up to date "
    "when it comes back.\nStops on SIGTERM or Ctrl-C, after what it is working "
    "on.\n\n"
    "Example:\n"
    "  tandem-kvstore --listen unix:/run/kv/app.sock --data /var/lib/kv/app &\n"
    "  tandem-node --app unix:/run/kv/app.sock --listen unix:/run/kv/node.sock "
    "--data /var/lib/kv/node";

struct Arguments {
  std::string app;
  std::string listen;
  std::string data;
  std::string mode;
  std::string group;
  std::string genesis;
  std::string validator_key;
  bool empty_blocks = false;
  MempoolLimits mempool;
};

std::string ProgramName() {
  return absl::StrCat("tandem-node ", std::string(rpc::FrameworkVersion()));
}

// Where `tandem up` keeps a pair.
std::string PairDirectory() {
  const char* named = std::getenv("TANDEM_DATA");
  return named != nullptr && *named != '\0' ? named : "tandem-data";
}

void DeclarePlaces(CLI::App& program, Arguments& arguments) {
  program
      .add_option("--app", arguments.app,
                  "Unix socket of the application (default: run/app.sock under "
                  "$TANDEM_DATA or ./tandem-data)")
      ->type_name("ADDR");
  program
      .add_option("--listen", arguments.listen,
                  "Unix socket to listen on (default: run/node.sock there)")
      ->type_name("ADDR");
  program
      .add_option("--data", arguments.data,
                  "Directory of the node's own, made when missing (default: "
                  "node there)")
      ->type_name("DIR");
  program
      .add_option("--mode", arguments.mode,
                  "Permissions of the socket file (default: 0600, with --group "
                  "0660)")
      ->type_name("OCTAL");
  program
      .add_option("--group", arguments.group,
                  "Group of the socket file, whose members may connect")
      ->type_name("NAME");
}

void DeclareChain(CLI::App& program, Arguments& arguments) {
  program
      .add_option(
          "--genesis", arguments.genesis,
          "What a new chain starts from: CometBFT's genesis.json or a "
          "Cosmos SDK genesis (default: a new chain with one validator)")
      ->type_name("FILE");
  program
      .add_option("--validator-key", arguments.validator_key,
                  "CometBFT's priv_validator_key.json (default: the data "
                  "directory's, made when missing)")
      ->type_name("FILE");
  program.add_flag("--empty-blocks", arguments.empty_blocks,
                   "Make a block each second though no transaction waits");
  MempoolLimits& limits = arguments.mempool;
  program
      .add_option("--mempool-transactions", limits.max_transactions,
                  "Most transactions that wait for a block")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  program.add_option("--mempool-bytes", limits.max_bytes, "Most bytes of them")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  program
      .add_option("--max-transaction-bytes", limits.max_transaction_bytes,
                  "Largest transaction")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  program
      .add_option("--checks-in-flight", limits.checks_in_flight,
                  "CheckTx calls given to the application at once; 1 for one "
                  "that needs them in order")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
}

absl::StatusOr<mode_t> ParseMode(const std::string& text) {
  const bool is_octal = text.find_first_not_of("01234567") == std::string::npos;
  if (is_octal && !text.empty() && text.size() <= 4) {
    return static_cast<mode_t>(std::stoul(text, nullptr, 8));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--mode: \"", text, "\" is not an octal number such as 0660"));
}

// The directory of the default addresses, which nobody has to make by hand.
absl::Status MakeRunDirectory() {
  const std::string path = PairDirectory() + "/run";
  std::error_code error;
  if (std::filesystem::create_directories(path, error)) {
    std::filesystem::permissions(path, std::filesystem::perms::owner_all,
                                 error);
  }
  if (!error) return absl::OkStatus();
  return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot make ", path));
}

absl::StatusOr<rpc::ServerOptions> ReadServerOptions(
    const Arguments& arguments) {
  rpc::ServerOptions options;
  options.name = ProgramName();
  options.address = arguments.listen;
  if (options.address.empty()) {
    TANDEM_RETURN_IF_ERROR(MakeRunDirectory());
    options.address = absl::StrCat("unix:", PairDirectory(), "/run/node.sock");
  }
  TANDEM_RETURN_IF_ERROR(rpc::UnixAddress::Parse(options.address).status());
  if (!arguments.group.empty()) {
    TANDEM_ASSIGN_OR_RETURN(const gid_t gid, rpc::GroupByName(arguments.group));
    options.permissions.gid = gid;
    options.permissions.mode = 0660;
    options.access.AllowGid(gid);
  }
  if (!arguments.mode.empty()) {
    TANDEM_ASSIGN_OR_RETURN(options.permissions.mode,
                            ParseMode(arguments.mode));
  }
  return options;
}

// Serves until a signal, or until the node cannot go on: then its reason.
absl::Status ServeUntilStopped(const Arguments& arguments,
                               rpc::ServerOptions options,
                               rpc::Termination& termination) {
  TANDEM_ASSIGN_OR_RETURN(
      DataDirectory data,
      DataDirectory::Open({.path = arguments.data.empty()
                                       ? PairDirectory() + "/node"
                                       : arguments.data,
                           .genesis_file = arguments.genesis,
                           .validator_key_file = arguments.validator_key}));
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<BlockStore> store,
                          BlockStore::Open(data.blocks()));
  const std::string app_address =
      arguments.app.empty()
          ? absl::StrCat("unix:", PairDirectory(), "/run/app.sock")
          : arguments.app;
  TANDEM_ASSIGN_OR_RETURN(
      std::unique_ptr<rpc::Channel> channel,
      rpc::Channel::Connect(app_address,
                            {.max_message_bytes = kMaxAppMessage}));
  TANDEM_ASSIGN_OR_RETURN(const store::ChainState state, store->LoadState());
  Subscriptions subscriptions(*store, state.height());
  absl::Status fatal;
  TANDEM_ASSIGN_OR_RETURN(
      std::unique_ptr<Node> node,
      Node::Start({.dial =
                       [&channel](absl::Duration timeout) {
                         return channel->OpenSession(timeout);
                       },
                   .app_address = app_address,
                   .mempool = arguments.mempool,
                   .empty_blocks = arguments.empty_blocks,
                   .on_committed =
                       [&subscriptions](
                           std::shared_ptr<const v1::CommittedBlock> block) {
                         subscriptions.Publish(std::move(block));
                       },
                   .on_fatal =
                       [&fatal](const absl::Status& why) {
                         fatal = why;
                         std::raise(SIGTERM);
                       }},
                  *store, data.genesis(), data.key()));
  NodeService service(*node, *store, subscriptions, data.genesis(), data.key());
  options.services = {Serve(service)};
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<rpc::Server> server,
                          rpc::Server::Start(std::move(options)));
  service.SetInstanceId(server->instance_id());
  spdlog::info("Listening on {}, chain {}, height {}.", server->address(),
               data.genesis().chain_id, state.height());

  while (!termination.Wait(absl::Hours(1))) {
  }
  spdlog::info("Stopping.");
  subscriptions.Stop();
  server->Stop(kStopCalls);
  node->Stop(kStopBlock);
  return fatal;
}

absl::Status Run(const Arguments& arguments) {
  TANDEM_ASSIGN_OR_RETURN(rpc::ServerOptions options,
                          ReadServerOptions(arguments));
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<rpc::Termination> termination,
                          rpc::Termination::Create());
  TANDEM_RETURN_IF_ERROR(
      ServeUntilStopped(arguments, std::move(options), *termination));
  spdlog::info("Stopped.");
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("tandem-node"));
  CLI::App program(
      "Orders transactions, makes them durable, and drives an application.",
      "tandem-node");
  program.set_version_flag("--version", ProgramName());
  program.footer(kFooter);
  Arguments arguments;
  DeclarePlaces(program, arguments);
  DeclareChain(program, arguments);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? 0 : kUsage;
  }
  const absl::Status served = Run(arguments);
  if (served.ok()) return 0;
  std::fprintf(stderr, "tandem-node: %s\n",
               std::string(served.message()).c_str());
  return absl::IsInvalidArgument(served) ? kUsage : kFailed;
}

}  // namespace
}  // namespace tandem::node

int main(int argc, char** argv) { return tandem::node::Main(argc, argv); }

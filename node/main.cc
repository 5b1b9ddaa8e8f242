// The tandem-node program: orders transactions, makes them durable, and drives
// an application.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "node/abci_socket_session.h"
#include "node/app_connection.h"
#include "node/block_store.h"
#include "node/chain_directory.h"
#include "node/node.h"
#include "node/node_service.h"
#include "node/subscriptions.h"
#include "proto/abci/call_recorder.h"
#include "proto/abci/trace_file.h"
#include "rpc/base/fail_point.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/version.h"
#include "rpc/client/channel.h"
#include "rpc/server/notify.h"
#include "rpc/server/program.h"
#include "rpc/server/server.h"
#include "rpc/server/termination.h"
#include "rpc/socket/unix_address.h"
#include "spdlog/spdlog.h"

namespace tandem::node {
namespace {

// After SIGTERM: for what is in the mempool, then for calls in flight.
constexpr absl::Duration kStopBlocks = absl::Seconds(5);
constexpr absl::Duration kStopCalls = absl::Seconds(5);
// Larger than the largest block.
constexpr std::size_t kMaxAppMessage = 256 << 20;

// The exit status when application and node do not belong together: who starts
// it again after a failure does not after this one (proto/PROTOCOL.md).
constexpr int kConflict = 3;

// Of --wire, in CometBFT's words.
constexpr char kSocketWire[] = "socket";
constexpr char kGrpcWire[] = "grpc";

constexpr char kFooter[] =
    "Waits for the application when it is not there, and brings it up to date "
    "when it comes back.\nStops on SIGTERM or Ctrl-C, after what it is working "
    "on.\n\n"
    "Exit status: 0 after that, 1 when it cannot run, 2 for a wrong command "
    "line, and 3 when\nthe application is ahead of the node, of another chain, "
    "or needs blocks that are not\nkept: then a restart does not help, and the "
    "message says what does.\n\n"
    "Example:\n"
    "  tandem-kvstore --listen unix:/run/kv/app.sock --data /var/lib/kv/app &\n"
    "  tandem-node --app unix:/run/kv/app.sock --listen unix:/run/kv/node.sock "
    "--data /var/lib/kv/node";

struct Arguments {
  std::string app;
  std::optional<uid_t> app_uid;
  std::string app_allow_shared_directory;
  std::string wire = kSocketWire;
  std::string genesis;
  std::string validator_key;
  bool empty_blocks = false;
  std::string record;
  MempoolLimits mempool;
};

std::string ProgramName() {
  return absl::StrCat("tandem-node ", std::string(rpc::FrameworkVersion()));
}

void DeclareApp(CLI::App& program, Arguments& arguments) {
  program
      .add_option("--app", arguments.app,
                  "Unix socket of the application (default: run/app.sock under "
                  "$TANDEM_DATA or ./tandem-data)")
      ->type_name("ADDR");
  program
      .add_option("--app-uid", arguments.app_uid,
                  "User id that the application runs as (default: our own)")
      ->type_name("UID");
  program
      .add_option("--app-allow-shared-directory",
                  arguments.app_allow_shared_directory,
                  "Talk to the application even where others can replace its "
                  "socket; REASON, why they are trusted, is logged "
                  "(--allow-shared-directory is for our own)")
      ->type_name("REASON")
      ->check([](const std::string& said) {
        return said.empty() ? "say why, such as \"all of group kv\"" : "";
      });
  program
      .add_option(
          "--wire", arguments.wire,
          "How to speak with the application: the ABCI socket protocol, "
          "or gRPC")
      ->type_name("socket|grpc")
      ->capture_default_str()
      ->check(CLI::IsMember({kSocketWire, kGrpcWire}));
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
  program
      .add_option("--record", arguments.record,
                  "Append each call of the application, and its answer, to "
                  "FILE: for `tandem trace`")
      ->type_name("FILE");
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

// What an operator can do about an application that is no peer of ours.
absl::StatusOr<std::unique_ptr<rpc::Session>> Explained(
    absl::StatusOr<std::unique_ptr<rpc::Session>> session) {
  if (!absl::IsPermissionDenied(session.status())) return session;
  return absl::PermissionDeniedError(absl::StrCat(
      session.status().message(),
      "; if the application is to run as another user, say --app-uid; if "
      "others may write its directory, --app-allow-shared-directory"));
}

// How the application at `address` is reached.
absl::StatusOr<AppDialer> DialerOf(const Arguments& arguments,
                                   const std::string& address) {
  const uid_t uid = arguments.app_uid.value_or(::geteuid());
  if (arguments.wire == kGrpcWire) {
    TANDEM_ASSIGN_OR_RETURN(
        std::shared_ptr<rpc::Channel> channel,
        rpc::Channel::Connect(
            address,
            {.server_uid = uid,
             .allow_shared_directory = arguments.app_allow_shared_directory,
             .max_message_bytes = kMaxAppMessage,
             .wire = rpc::ClientWire::kGrpc}));
    return [channel](absl::Duration timeout) {
      return channel->OpenSession(timeout);
    };
  }
  TANDEM_ASSIGN_OR_RETURN(const rpc::UnixAddress parsed,
                          rpc::UnixAddress::Parse(address));
  return [parsed,
          options = AbciSocketOptions{
              .server_uid = uid,
              .allow_shared_directory = arguments.app_allow_shared_directory,
              .max_message_bytes = kMaxAppMessage}](absl::Duration timeout) {
    return OpenAbciSocketSession(parsed, options, timeout);
  };
}

// What --record asks for; empty without.
struct Recording {
  std::unique_ptr<abci::TraceWriter> writer;
  std::unique_ptr<abci::CallRecorder> recorder;
};

absl::StatusOr<Recording> StartRecording(const std::string& path) {
  Recording recording;
  if (path.empty()) return recording;
  TANDEM_ASSIGN_OR_RETURN(recording.writer, abci::TraceWriter::Open(path));
  recording.recorder = std::make_unique<abci::CallRecorder>(
      ProgramName(), abci::WriteTo(*recording.writer));
  spdlog::info("Recording the application's calls in {}.", path);
  return recording;
}

// Serves until a signal, or until its only connection has ended, or until the
// node cannot go on: then its reason, and `is_conflict` when a restart does not
// mend that.
absl::Status ServeUntilStopped(const Arguments& arguments,
                               const rpc::ProgramOptions& program,
                               rpc::ServerOptions options,
                               rpc::Termination& termination,
                               bool& is_conflict) {
  TANDEM_ASSIGN_OR_RETURN(const std::string directory,
                          program.ReadDataDirectory());
  TANDEM_ASSIGN_OR_RETURN(
      ChainDirectory data,
      ChainDirectory::Open({.path = directory,
                            .genesis_file = arguments.genesis,
                            .validator_key_file = arguments.validator_key}));
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<BlockStore> store,
                          BlockStore::Open(data.blocks()));
  rpc::FailPoint("node/store-opened");
  const std::string app_address =
      arguments.app.empty() ? rpc::PairAddress("app") : arguments.app;
  TANDEM_ASSIGN_OR_RETURN(const AppDialer dial,
                          DialerOf(arguments, app_address));
  if (!arguments.app_allow_shared_directory.empty()) {
    spdlog::warn("{}: who can replace the socket is trusted, because: {}",
                 app_address, arguments.app_allow_shared_directory);
  }
  TANDEM_ASSIGN_OR_RETURN(const store::ChainState state, store->LoadState());
  TANDEM_ASSIGN_OR_RETURN(const Recording recording,
                          StartRecording(arguments.record));
  Subscriptions subscriptions(*store, state.height(),
                              data.genesis().initial_height);
  absl::Status fatal;
  TANDEM_ASSIGN_OR_RETURN(
      std::unique_ptr<Node> node,
      Node::Create({.dial =
                        [&dial](absl::Duration timeout) {
                          return Explained(dial(timeout));
                        },
                    .app_address = app_address,
                    .mempool = arguments.mempool,
                    .empty_blocks = arguments.empty_blocks,
                    .recorder = recording.recorder.get(),
                    .on_committed =
                        [&subscriptions](
                            std::shared_ptr<const v1::CommittedBlock> block) {
                          subscriptions.Publish(std::move(block));
                        },
                    .on_fatal =
                        [&fatal, &termination](const absl::Status& why) {
                          fatal = why;
                          termination.Request();
                        }},
                   *store, data.genesis(), data.key()));
  NodeService service(*node, *store, subscriptions, data.genesis(), data.key(),
                      options.instance_id);
  options.name = ProgramName();
  options.services = {Serve(service)};
  // Readers are sent the same blocks.
  options.max_reply_bytes = kMaxAppMessage;
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<rpc::Server> server,
                          rpc::Server::Start(std::move(options)));
  // Not before the socket is ours: a second node must not touch the
  // application.
  node->Begin();
  spdlog::info("Listening on {}, chain {}, height {}.", server->address(),
               data.genesis().chain_id, state.height());
  rpc::NotifyReady(absl::StrCat("listening on ", server->address()));

  server->WaitUntilOver(termination);
  spdlog::info("Stopping.");
  rpc::NotifyStopping();
  // In this order, so that who waits for a commit, or watches, sees what is
  // still committed.
  node->Stop(kStopBlocks);
  subscriptions.Stop();
  is_conflict = absl::IsAborted(fatal);
  // A handler that is left behind still uses the store.
  if (!server->Stop(kStopCalls)) std::_Exit(is_conflict ? kConflict : 1);
  return fatal;
}

// `termination` is made here and kept by the caller: until the process ends, a
// signal must not hide why it does.
absl::Status Run(const Arguments& arguments, const rpc::ProgramOptions& program,
                 std::unique_ptr<rpc::Termination>& termination,
                 bool& is_conflict) {
  TANDEM_ASSIGN_OR_RETURN(rpc::ServerOptions options,
                          program.ReadServerOptions());
  TANDEM_ASSIGN_OR_RETURN(termination, rpc::Termination::Create());
  TANDEM_RETURN_IF_ERROR(ServeUntilStopped(
      arguments, program, std::move(options), *termination, is_conflict));
  spdlog::info("Stopped.");
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App program(
      "Orders transactions, makes them durable, and drives an application.",
      "tandem-node");
  program.set_version_flag("--version", ProgramName());
  program.footer(kFooter);
  Arguments arguments;
  DeclareApp(program, arguments);
  const rpc::ProgramOptions options(program, "node");
  DeclareChain(program, arguments);
  // Never destroyed: it would give up the signals while the process still ends.
  static auto& termination = *new std::unique_ptr<rpc::Termination>();
  bool is_conflict = false;
  const int status = rpc::RunProgram(program, argc, argv, [&] {
    return Run(arguments, options, termination, is_conflict);
  });
  return is_conflict ? kConflict : status;
}

}  // namespace
}  // namespace tandem::node

int main(int argc, char** argv) { return tandem::node::Main(argc, argv); }

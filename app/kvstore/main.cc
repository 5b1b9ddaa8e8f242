// The tandem-kvstore program: serves the key-value store to a node.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "app/abci_service.h"
#include "app/kvstore/kv_store.h"
#include "rpc/base/status_macros.h"
#include "rpc/server/server.h"
#include "rpc/server/termination.h"
#include "rpc/socket/unix_address.h"
#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"

namespace tandem::app {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

// What calls in flight have to finish after SIGTERM.
constexpr absl::Duration kStopTimeout = absl::Seconds(10);

constexpr char kFooter[] =
    "Stops on SIGTERM or Ctrl-C, after what it is working on.\n\n"
    "Example:\n"
    "  tandem-kvstore --listen unix:/run/kv/app.sock --data /var/lib/kv\n\n"
    "and a node that uses it, Tandem's or CometBFT:\n"
    "  tandem-node --app unix:/run/kv/app.sock ...\n"
    "  cometbft start --abci grpc --proxy_app unix:///run/kv/app.sock";

struct Arguments {
  std::string listen;
  std::string data;
  std::string mode;
  std::string group;
};

// Where `tandem up` keeps a pair.
std::string PairDirectory() {
  const char* named = std::getenv("TANDEM_DATA");
  return named != nullptr && *named != '\0' ? named : "tandem-data";
}

void Declare(CLI::App& program, Arguments& arguments) {
  program.name("tandem-kvstore");
  program.set_version_flag("--version", "tandem-kvstore " TANDEM_VERSION);
  program.footer(kFooter);
  program
      .add_option("--listen", arguments.listen,
                  "Unix socket to listen on (default: run/app.sock under "
                  "$TANDEM_DATA or ./tandem-data)")
      ->type_name("ADDR");
  program
      .add_option("--data", arguments.data,
                  "Directory of the store's own, made when missing (default: "
                  "app under $TANDEM_DATA or ./tandem-data)")
      ->type_name("DIR");
  program
      .add_option("--mode", arguments.mode,
                  "Permissions of the socket file (default: 0600, with "
                  "--group 0660)")
      ->type_name("OCTAL");
  program
      .add_option("--group", arguments.group,
                  "Group of the socket file, whose members may connect")
      ->type_name("NAME");
}

absl::StatusOr<mode_t> ParseMode(const std::string& text) {
  const bool octal = text.find_first_not_of("01234567") == std::string::npos;
  if (octal && !text.empty() && text.size() <= 4) {
    return static_cast<mode_t>(std::stoul(text, nullptr, 8));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--mode: \"", text, "\" is not an octal number such as 0660"));
}

// The directory of the default address, which nobody has to make by hand.
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

absl::StatusOr<rpc::ServerOptions> ReadOptions(const CLI::App& program,
                                               const Arguments& arguments) {
  rpc::ServerOptions options;
  options.name = "tandem-kvstore " TANDEM_VERSION;
  options.address = arguments.listen;
  if (program.count("--listen") == 0) {
    TANDEM_RETURN_IF_ERROR(MakeRunDirectory());
    options.address = absl::StrCat("unix:", PairDirectory(), "/run/app.sock");
  }
  TANDEM_RETURN_IF_ERROR(rpc::UnixAddress::Parse(options.address).status());
  if (program.count("--group") > 0) {
    TANDEM_ASSIGN_OR_RETURN(const gid_t gid, rpc::GroupByName(arguments.group));
    options.permissions.gid = gid;
    options.permissions.mode = 0660;
    options.access.AllowGid(gid);
  }
  if (program.count("--mode") > 0) {
    TANDEM_ASSIGN_OR_RETURN(options.permissions.mode,
                            ParseMode(arguments.mode));
  }
  return options;
}

absl::StatusOr<std::string> ReadData(const CLI::App& program,
                                     const Arguments& arguments) {
  if (program.count("--data") == 0) return PairDirectory() + "/app";
  if (!arguments.data.empty()) return arguments.data;
  return absl::InvalidArgumentError("--data: the directory has no name");
}

absl::Status Run(const CLI::App& program, const Arguments& arguments) {
  TANDEM_ASSIGN_OR_RETURN(rpc::ServerOptions options,
                          ReadOptions(program, arguments));
  TANDEM_ASSIGN_OR_RETURN(const std::string data, ReadData(program, arguments));
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<rpc::Termination> termination,
                          rpc::Termination::Create());
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<KvStore> store, KvStore::Open(data));
  TANDEM_ASSIGN_OR_RETURN(const abci::ResponseInfo info, store->Info({}));
  AbciService service(*store);
  options.services = {Serve(service)};
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<rpc::Server> server,
                          rpc::Server::Start(std::move(options)));
  spdlog::info("listening on {}, data in {}, height {}", server->address(),
               data, info.last_block_height());
  termination->Wait(absl::InfiniteDuration());
  server->Stop(kStopTimeout);
  spdlog::info("stopped");
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("tandem-kvstore"));
  CLI::App program(
      "Serves a durable key-value store to a node (ABCI over gRPC).");
  Arguments arguments;
  Declare(program, arguments);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? 0 : kUsage;
  }
  const absl::Status served = Run(program, arguments);
  if (served.ok()) return 0;
  std::fprintf(stderr, "tandem-kvstore: %s\n",
               std::string(served.message()).c_str());
  return absl::IsInvalidArgument(served) ? kUsage : kFailed;
}

}  // namespace
}  // namespace tandem::app

int main(int argc, char** argv) { return tandem::app::Main(argc, argv); }

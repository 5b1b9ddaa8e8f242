#include "rpc/server/program.h"

#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rpc/base/file.h"
#include "rpc/base/standard_descriptors.h"
#include "rpc/base/status_macros.h"
#include "rpc/server/protobuf_log.h"
#include "rpc/socket/handed_in_socket.h"
#include "rpc/socket/unix_address.h"
#include "rpc/socket/unix_listener.h"
#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"

namespace tandem::rpc {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

absl::StatusOr<mode_t> ParseMode(const std::string& text) {
  const bool is_octal = text.find_first_not_of("01234567") == std::string::npos;
  if (is_octal && !text.empty() && text.size() <= 4) {
    return static_cast<mode_t>(std::stoul(text, nullptr, 8));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--mode: \"", text, "\" is not an octal number such as 0660"));
}

absl::Status About(const char* option, const absl::Status& status) {
  return {status.code(), absl::StrCat(option, ": ", status.message())};
}

}  // namespace

std::string DefaultPairPath() {
  const char* named = std::getenv("TANDEM_DATA");
  return named != nullptr && *named != '\0' ? named : "tandem-data";
}

std::string PairAddress(std::string_view role) {
  return absl::StrCat("unix:", DefaultPairPath(), "/run/", std::string(role),
                      ".sock");
}

ProgramOptions::ProgramOptions(CLI::App& program, std::string role)
    : program_(program), role_(std::move(role)) {
  program
      .add_option(
          "--listen", listen_,
          absl::StrCat("Unix socket to listen on: unix:PATH, or "
                       "systemd:NAME or fd:N for one that is handed "
                       "in (default: run/",
                       role_, ".sock under $TANDEM_DATA or ./tandem-data)"))
      ->type_name("ADDR");
  program
      .add_option("--data", data_,
                  absl::StrCat("Directory of the program's own, made when "
                               "missing (default: ",
                               role_, " there)"))
      ->type_name("DIR");
  program
      .add_option("--mode", mode_,
                  "Permissions of the socket file (default: 0600, with --group "
                  "0660)")
      ->type_name("OCTAL");
  program
      .add_option("--group", group_,
                  "Group of the socket file, whose members may connect")
      ->type_name("NAME");
  program
      .add_option(
          "--allow-shared-directory", shared_,
          "Listen even where others can replace the socket; REASON, why "
          "they are trusted, is logged")
      ->type_name("REASON");
  // Each may be given several times, with one value each.
  program
      .add_option("--allow-user", users_,
                  "User who may connect beside our own, and call what no "
                  "--allow-call is for; --mode lets others at the socket file")
      ->type_name("NAME|UID")
      ->allow_extra_args(false);
  program
      .add_option("--allow-group", groups_,
                  "Group whose members may connect, likewise")
      ->type_name("NAME|GID")
      ->allow_extra_args(false);
  program
      .add_option("--allow-call", rules_,
                  "Who alone may call a service, or one method of it: "
                  "kv.v1.Store/Put=user:alice,group:ops, or * for everybody "
                  "who may connect. A rule for tandem.rpc.v1.Admin, which "
                  "`tandem status` asks, replaces its default, our own user")
      ->type_name("SERVICE[/METHOD]=WHO,...")
      ->allow_extra_args(false);
}

absl::StatusOr<ServerOptions> ProgramOptions::ReadServerOptions() const {
  ServerOptions options;
  options.address = listen_;
  if (program_.count("--listen") == 0) {
    TANDEM_RETURN_IF_ERROR(MakeDirectory(DefaultPairPath() + "/run"));
    options.address = PairAddress(role_);
  }
  TANDEM_RETURN_IF_ERROR(IsHandedIn(options.address)
                             ? CheckHandedInSocket(options.address)
                             : UnixAddress::Parse(options.address).status());
  if (program_.count("--group") > 0) {
    TANDEM_ASSIGN_OR_RETURN(const gid_t gid, GroupByName(group_));
    options.permissions.gid = gid;
    options.permissions.mode = 0660;
    options.access.AllowGid(gid);
  }
  TANDEM_RETURN_IF_ERROR(ReadAccess(options.access));
  options.allow_shared_directory = shared_;
  options.reflection = true;
  if (shared_.empty() && program_.count("--allow-shared-directory") > 0) {
    return absl::InvalidArgumentError(
        "--allow-shared-directory: say why, such as \"all of group kv\"");
  }
  if (program_.count("--mode") > 0) {
    TANDEM_ASSIGN_OR_RETURN(options.permissions.mode, ParseMode(mode_));
  }
  return options;
}

absl::Status ProgramOptions::ReadAccess(AccessPolicy& access) const {
  for (const std::string& user : users_) {
    absl::StatusOr<AllowList> who = AllowList::Parse("user:" + user);
    if (!who.ok()) return About("--allow-user", who.status());
    access.Allow(*who);
  }
  for (const std::string& group : groups_) {
    absl::StatusOr<AllowList> who = AllowList::Parse("group:" + group);
    if (!who.ok()) return About("--allow-group", who.status());
    access.Allow(*who);
  }
  for (const std::string& rule : rules_) {
    if (absl::Status added = access.AddRule(rule); !added.ok()) {
      return About("--allow-call", added);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ProgramOptions::ReadDataDirectory() const {
  if (program_.count("--data") == 0) return DefaultPairPath() + "/" + role_;
  if (!data_.empty()) return data_;
  return absl::InvalidArgumentError("--data: the directory has no name");
}

int RunProgram(CLI::App& program, int argc, char** argv,
               const std::function<absl::Status()>& body) {
  if (!StandardDescriptors().ok()) return kFailed;
  // malloc's default of 8 arenas per core keeps a third more memory, and is no
  // faster here. Larger than 1, this cannot fail.
  ::mallopt(M_ARENA_MAX, static_cast<int>(std::max(
                             2U, std::thread::hardware_concurrency())));
  spdlog::set_default_logger(spdlog::stderr_color_mt(program.get_name()));
  LogProtobufBySpdlog();
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? 0 : kUsage;
  }
  const absl::Status status = body();
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s: %s\n", program.get_name().c_str(),
               std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? kUsage : kFailed;
}

}  // namespace tandem::rpc

#include "rpc/server/program.h"

#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
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

absl::StatusOr<absl::Duration> ParseTime(const std::string& text) {
  absl::Duration time;
  if (absl::ParseDuration(text, &time) && time > absl::ZeroDuration()) {
    return time;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--idle-timeout: \"", text, "\" is not a time such as 90s, 5m or 1h"));
}

absl::Status About(const char* option, const absl::Status& status) {
  return {status.code(), absl::StrCat(option, ": ", status.message())};
}

// Who is one user, or one group: `kind` says which.
absl::StatusOr<AllowList> ParseOne(const char* option, std::string_view kind,
                                   const std::string& who) {
  if (who.find(',') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        option, ": \"", who, "\" is not one ", std::string(kind),
        ": give the option once for each (users by --allow-user, groups by "
        "--allow-group)"));
  }
  absl::StatusOr<AllowList> list =
      AllowList::Parse(absl::StrCat(std::string(kind), ":", who));
  if (!list.ok()) return About(option, list.status());
  return list;
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
  AddLimits();
}

void ProgramOptions::AddLimits() {
  const auto add = [this](const char* name, int& limit, const char* what) {
    program_
        .add_option(name, limit, absl::StrCat(what, " (default: ", limit, ")"))
        ->check(CLI::PositiveNumber)
        ->type_name("N");
  };
  add("--max-connections", limits_.max_connections,
      "Connections at once; further ones are closed");
  add("--max-connections-per-uid", limits_.max_connections_per_uid,
      "Of these, of one user");
  add("--max-calls-per-connection", limits_.max_calls_per_connection,
      "Calls in flight on one connection; further ones are refused");
  program_
      .add_option("--max-request-memory", limits_.max_request_memory,
                  "Memory for requests in flight, half of it for those of one "
                  "user; 512M for instance (default: 1G)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      // Goes first, for that would take it for a large number.
      ->transform(CLI::Validator(
          [](const std::string& size) -> std::string {
            if (!size.starts_with('-')) return "";
            return size + " is not a size such as 512M";
          },
          ""))
      ->type_name("BYTES[K|M|G]");
  program_
      .add_option("--idle-timeout", idle_timeout_,
                  "Close connections that have had no call for so long, such "
                  "as 90s or 5m (default: never)")
      ->type_name("TIME");
}

absl::StatusOr<ServerOptions> ProgramOptions::ReadServerOptions() const {
  ServerOptions options = limits_;
  options.max_request_memory_per_uid = options.max_request_memory / 2;
  if (program_.count("--idle-timeout") > 0) {
    TANDEM_ASSIGN_OR_RETURN(options.idle_timeout, ParseTime(idle_timeout_));
  }
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
    TANDEM_ASSIGN_OR_RETURN(const AllowList who,
                            ParseOne("--allow-user", "user", user));
    access.Allow(who);
  }
  for (const std::string& group : groups_) {
    TANDEM_ASSIGN_OR_RETURN(const AllowList who,
                            ParseOne("--allow-group", "group", group));
    access.Allow(who);
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

#include "rpc/server/program.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"

namespace tandem::rpc {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

absl::StatusOr<ServerOptions> Read(std::vector<std::string> arguments) {
  CLI::App program("test");
  const ProgramOptions options(program, "app");
  arguments.insert(arguments.begin(), {"--listen", "unix:/tmp/s"});
  // CLI11 takes them from the end.
  program.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  return options.ReadServerOptions();
}

Caller User(uid_t uid, std::vector<gid_t> groups = {}) {
  return {.uid = uid, .gid = 9999, .groups = std::move(groups)};
}

TEST(ProgramTest, WithoutOptionsOurOwnUserAloneMayConnect) {
  const auto options = Read({});
  ASSERT_THAT(options, IsOk());
  EXPECT_TRUE(options->access.MayConnect(User(::geteuid())));
  EXPECT_FALSE(options->access.MayConnect(User(::geteuid() + 1)));
}

TEST(ProgramTest, UsersAndGroupsAreAllowedByNameAndNumber) {
  const auto options = Read({"--allow-user", "7771", "--allow-user", "root",
                             "--allow-group", "7772", "--allow-group", "root"});
  ASSERT_THAT(options, IsOk());
  EXPECT_TRUE(options->access.MayConnect(User(7771)));
  EXPECT_TRUE(options->access.MayConnect(User(0)));
  EXPECT_TRUE(options->access.MayConnect(User(7773, {7772})));
  EXPECT_TRUE(options->access.MayConnect(User(7773, {0})));
  EXPECT_FALSE(options->access.MayConnect(User(7772, {7771})));
}

TEST(ProgramTest, RulesAreForMethodsAndServices) {
  const auto options =
      Read({"--allow-call", "kv.v1.Store/Put=user:7771", "--allow-call",
            "kv.v1.Store=group:7772,user:root"});
  ASSERT_THAT(options, IsOk());
  const AccessPolicy& access = options->access;
  EXPECT_THAT(access.MayCall(User(7771), "kv.v1.Store", "Put"), IsOk());
  EXPECT_THAT(access.MayCall(User(7771), "kv.v1.Store", "Get"),
              StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(access.MayCall(User(0), "kv.v1.Store", "Get"), IsOk());
  EXPECT_THAT(access.MayCall(User(7773, {7772}), "kv.v1.Store", "Get"), IsOk());
}

TEST(ProgramTest, AWrongValueNamesTheOptionAndTheValue) {
  EXPECT_THAT(
      Read({"--allow-user", "no-such-user"}),
      StatusIs(StatusCode::kNotFound,
               AllOf(HasSubstr("--allow-user"), HasSubstr("no-such-user"))));
  EXPECT_THAT(
      Read({"--allow-group", "no-such-group"}),
      StatusIs(StatusCode::kNotFound,
               AllOf(HasSubstr("--allow-group"), HasSubstr("no-such-group"))));
  EXPECT_THAT(
      Read({"--allow-user", "1,2"}),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("--allow-user")));
  EXPECT_THAT(Read({"--allow-user", ""}), StatusIs(StatusCode::kInvalidArgument,
                                                   HasSubstr("--allow-user")));
  EXPECT_THAT(
      Read({"--allow-call", "kv.v1.Store"}),
      StatusIs(StatusCode::kInvalidArgument,
               AllOf(HasSubstr("--allow-call"), HasSubstr("kv.v1.Store"))));
}

TEST(ProgramTest, AUserOrGroupIsOneAndOfItsKind) {
  for (const char* option : {"--allow-user", "--allow-group"}) {
    for (const char* list : {"0,group:0", "0,user:1", "0,", "*"}) {
      const auto options = Read({option, list});
      EXPECT_FALSE(options.ok()) << option << " " << list;
      EXPECT_THAT(std::string(options.status().message()), HasSubstr(option));
    }
  }
  EXPECT_THAT(Read({"--allow-user", "0,group:0"}),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("is not one user"),
                             HasSubstr("groups by --allow-group"))));
}

TEST(ProgramTest, LimitsAreAsGivenOrAsTheyAre) {
  const ServerOptions own;
  const auto none = Read({});
  ASSERT_THAT(none, IsOk());
  EXPECT_EQ(none->max_connections, own.max_connections);
  EXPECT_EQ(none->max_connections_per_uid, own.max_connections_per_uid);
  EXPECT_EQ(none->max_calls_per_connection, own.max_calls_per_connection);
  EXPECT_EQ(none->max_request_memory, own.max_request_memory);
  EXPECT_EQ(none->max_request_memory_per_uid, own.max_request_memory_per_uid);
  EXPECT_EQ(none->idle_timeout, own.idle_timeout);

  const auto given =
      Read({"--max-connections", "11", "--max-connections-per-uid", "12",
            "--max-calls-per-connection", "13", "--max-request-memory", "256M",
            "--idle-timeout", "90s"});
  ASSERT_THAT(given, IsOk());
  EXPECT_EQ(given->max_connections, 11);
  EXPECT_EQ(given->max_connections_per_uid, 12);
  EXPECT_EQ(given->max_calls_per_connection, 13);
  EXPECT_EQ(given->max_request_memory, std::size_t{256} << 20);
  EXPECT_EQ(given->max_request_memory_per_uid, std::size_t{128} << 20);
  EXPECT_EQ(given->idle_timeout, absl::Seconds(90));
}

TEST(ProgramTest, AWrongLimitNamesTheOptionAndTheValue) {
  const std::pair<const char*, const char*> wrong[] = {
      {"--max-connections", "0"},
      {"--max-connections-per-uid", "-1"},
      {"--max-calls-per-connection", "many"},
      {"--max-request-memory", "3X"},
      {"--max-request-memory", "-3"}};
  for (const auto& [option, value] : wrong) {
    try {
      (void)Read({option, value});
      ADD_FAILURE() << option << " " << value;
    } catch (const CLI::ParseError& error) {
      EXPECT_THAT(error.what(), HasSubstr(option));
    }
  }
  for (const char* time : {"", "5", "0s", "-1s", "soon"}) {
    EXPECT_THAT(Read({"--idle-timeout", time}),
                StatusIs(StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("--idle-timeout"), HasSubstr(time))));
  }
}

TEST(ProgramTest, ASocketThatIsNotHandedInIsMissedBeforeAnythingIsOpened) {
  CLI::App program("test");
  const ProgramOptions options(program, "app");
  program.parse(std::vector<std::string>{"fd:987", "--listen"});
  EXPECT_THAT(
      options.ReadServerOptions(),
      StatusIs(StatusCode::kNotFound, HasSubstr("descriptor 987 is not open")));
}

}  // namespace
}  // namespace tandem::rpc

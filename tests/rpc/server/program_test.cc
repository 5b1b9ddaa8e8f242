#include "rpc/server/program.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

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

#include "rpc/socket/unix_address.h"

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"

namespace tandem::rpc {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

void ExpectPath(std::string_view text, const std::string& path) {
  const auto address = UnixAddress::Parse(text);
  ASSERT_THAT(address, IsOk());
  EXPECT_EQ(address->path(), path);
}

void ExpectRefused(std::string_view text, const std::string& why) {
  EXPECT_THAT(UnixAddress::Parse(text),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)))
      << text;
}

TEST(UnixAddressTest, TakesOneSlashAndThree) {
  ExpectPath("unix:/run/kv.sock", "/run/kv.sock");
  ExpectPath("unix:///run/kv.sock", "/run/kv.sock");
}

TEST(UnixAddressTest, TakesMoreSlashesForOne) {
  ExpectPath("unix:////run/kv.sock", "/run/kv.sock");
  ExpectPath("unix://///run//kv.sock", "/run//kv.sock");
}

TEST(UnixAddressTest, MakesARelativePathAbsoluteNow) {
  const auto here = std::filesystem::current_path();
  std::filesystem::current_path("/tmp");
  const auto address = UnixAddress::Parse("unix:kv/kv.sock");
  std::filesystem::current_path(here);
  ASSERT_THAT(address, IsOk());
  EXPECT_EQ(address->path(), "/tmp/kv/kv.sock");
}

TEST(UnixAddressTest, KnowsItsParts) {
  const auto address = UnixAddress::Parse("unix:///run/kv/kv.sock");
  ASSERT_THAT(address, IsOk());
  EXPECT_EQ(address->directory(), "/run/kv");
  EXPECT_EQ(address->name(), "kv.sock");
  EXPECT_EQ(address->ToString(), "unix:/run/kv/kv.sock");
}

TEST(UnixAddressTest, TheRootIsADirectoryToo) {
  const auto address = UnixAddress::Parse("unix:/kv.sock");
  ASSERT_THAT(address, IsOk());
  EXPECT_EQ(address->directory(), "/");
  EXPECT_EQ(address->name(), "kv.sock");
}

TEST(UnixAddressTest, RefusesWhatIsNoUnixSocket) {
  ExpectRefused("", "empty");
  ExpectRefused("tcp://127.0.0.1:26658", "not a unix socket");
  ExpectRefused("localhost:26658", "not a unix socket");
  ExpectRefused("dns:///host", "not a unix socket");
  ExpectRefused("UNIX:/run/kv.sock", "not a unix socket");
}

TEST(UnixAddressTest, SaysHowToWriteABarePath) {
  ExpectRefused("/run/kv.sock", "write unix: before the path");
  ExpectRefused("./kv.sock", "write unix: before the path");
}

TEST(UnixAddressTest, RefusesAHost) {
  ExpectRefused("unix://host/run/kv.sock", "no host");
  ExpectRefused("unix://kv.sock", "no host");
  ExpectRefused("unix://", "no host");
}

TEST(UnixAddressTest, RefusesAbstractSockets) {
  ExpectRefused("unix-abstract:kv", "abstract");
  ExpectRefused("unix:@kv", "abstract");
  ExpectRefused("@kv", "abstract");
}

TEST(UnixAddressTest, RefusesPathsThatNameNoFile) {
  for (const char* text : {"unix:", "unix:/", "unix:/run/", "unix:/run/.",
                           "unix:/run/..", "unix:///"}) {
    ExpectRefused(text, "names no file");
  }
}

TEST(UnixAddressTest, TakesAtMost107Bytes) {
  const std::string longest = "/" + std::string(106, 'x');
  ExpectPath("unix:" + longest, longest);
  ExpectRefused("unix:" + longest + "x", "the path has 108 bytes");
}

TEST(UnixAddressTest, RefusesCharactersThatGrpcMangles) {
  ExpectPath("unix:/AZaz09._/+@-", "/AZaz09._/+@-");
  for (const char c : std::string("%?#& ~:,;*\\\"'\n\x7f\xc3")) {
    ExpectRefused("unix:/run/a" + std::string(1, c) + "b", "is not one of");
  }
}

TEST(UnixAddressTest, RefusesAZeroByteAndShowsIt) {
  ExpectRefused(std::string_view("unix:/a\0b", 9), "\\x00");
}

}  // namespace
}  // namespace tandem::rpc

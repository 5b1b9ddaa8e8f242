#include "rpc/testing/temp_dir.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::rpc::testing {
namespace {

using ::testing::StartsWith;

TEST(TempDirTest, IsEmptyAndOnlyForUs) {
  TempDir dir;
  struct stat info;
  ASSERT_EQ(::stat(dir.path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(TempDirTest, TwoDoNotMeet) {
  TempDir one;
  TempDir two;
  EXPECT_NE(one.path(), two.path());
}

TEST(TempDirTest, GoesWithAllThatIsInIt) {
  std::string path;
  {
    TempDir dir;
    path = dir.path();
    std::filesystem::create_directories(dir.File("a/b"));
    std::ofstream(dir.File("a/b/c")) << "x";
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(TempDirTest, ALongTmpdirIsNotUsed) {
  ::setenv("TMPDIR", ("/" + std::string(60, 'x')).c_str(), 1);
  TempDir dir;
  ::unsetenv("TMPDIR");
  EXPECT_THAT(dir.path(), StartsWith("/tmp/"));
  EXPECT_THAT(dir.Address("s"), StartsWith("unix:/tmp/"));
}

}  // namespace
}  // namespace tandem::rpc::testing

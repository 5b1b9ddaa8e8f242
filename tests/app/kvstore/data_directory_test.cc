#include "app/kvstore/data_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/child.h"

namespace tandem::app {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

class DataDirectoryTest : public ::testing::Test {
 protected:
  std::string path() const { return temp_.File("data"); }

  void MakeDirectory() { std::filesystem::create_directory(path()); }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(path() + "/" + name) << text;
  }

  std::string Read(const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(path() + "/" + name).rdbuf();
    return text.str();
  }

 private:
  rpc::testing::TempDir temp_;
};

TEST_F(DataDirectoryTest, IsMadeForUsAloneAndMarked) {
  ASSERT_THAT(DataDirectory::Open(path() + "/below"), IsOk());
  struct stat info;
  ASSERT_EQ(::stat((path() + "/below").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  EXPECT_EQ(Read("below/tandem-kvstore.json"),
            "{\n  \"program\": \"tandem-kvstore\",\n"
            "  \"store_version\": 1\n}\n");
}

TEST_F(DataDirectoryTest, OpensAgain) {
  ASSERT_THAT(DataDirectory::Open(path()), IsOk());
  EXPECT_THAT(DataDirectory::Open(path()), IsOk());
}

TEST_F(DataDirectoryTest, TakesAnEmptyDirectoryAndWhatACrashLeft) {
  MakeDirectory();
  Write("tandem-kvstore.json.new", "{\"prog");
  EXPECT_THAT(DataDirectory::Open(path()), IsOk());
}

TEST_F(DataDirectoryTest, OfAnotherProgramStaysAsItIs) {
  MakeDirectory();
  Write("photo.jpg", "");
  EXPECT_THAT(
      DataDirectory::Open(path()),
      StatusIs(kPrecondition, AllOf(HasSubstr(path()), HasSubstr("photo.jpg"),
                                    HasSubstr("--data"))));
  EXPECT_EQ(Read("tandem-kvstore.json"), "");
}

TEST_F(DataDirectoryTest, MarkerOfAnotherProgramIsRefused) {
  MakeDirectory();
  for (const char* text :
       {"", "not json", "[]", "{}", "{\"program\":7}", "\xff",
        "{\"program\":\"tandem-node\",\"store_version\":1}"}) {
    Write("tandem-kvstore.json", text);
    EXPECT_THAT(DataDirectory::Open(path()),
                StatusIs(kPrecondition, HasSubstr("not a tandem-kvstore's")))
        << text;
  }
}

TEST_F(DataDirectoryTest, OfAnotherStoreVersionIsRefused) {
  MakeDirectory();
  Write("tandem-kvstore.json",
        "{\"program\":\"tandem-kvstore\",\"store_version\":2}");
  EXPECT_THAT(DataDirectory::Open(path()),
              StatusIs(kPrecondition, AllOf(HasSubstr("has store version 2"),
                                            HasSubstr("reads version 1"))));
  Write("tandem-kvstore.json", "{\"program\":\"tandem-kvstore\"}");
  EXPECT_THAT(DataDirectory::Open(path()),
              StatusIs(kPrecondition, HasSubstr("version null")));
}

TEST_F(DataDirectoryTest, ThatIsAFileIsRefused) {
  std::ofstream(path()) << "text";
  EXPECT_THAT(DataDirectory::Open(path()),
              StatusIs(kPrecondition, HasSubstr("is not a directory")));
  EXPECT_THAT(DataDirectory::Open(path() + "/below"), ::testing::Not(IsOk()));
}

TEST_F(DataDirectoryTest, InUseIsRefusedUntilItIsFree) {
  {
    const auto first = DataDirectory::Open(path());
    ASSERT_THAT(first, IsOk());
    EXPECT_THAT(DataDirectory::Open(path()),
                StatusIs(kPrecondition, HasSubstr("in use")));
  }
  EXPECT_THAT(DataDirectory::Open(path()), IsOk());
}

// Root may write everywhere, so it looks as somebody else.
TEST_F(DataDirectoryTest, NotOursToWriteIsRefused) {
  MakeDirectory();
  ASSERT_EQ(::chmod(std::filesystem::path(path()).parent_path().c_str(), 0711),
            0);
  ASSERT_EQ(::chmod(path().c_str(), 0555), 0);
  const auto is_refused = [this] {
    EXPECT_THAT(DataDirectory::Open(path()),
                StatusIs(absl::StatusCode::kPermissionDenied,
                         AllOf(HasSubstr("cannot write"), HasSubstr(path()))));
    return HasFailure() ? 1 : 0;
  };
  EXPECT_EQ(test::CanBecomeOthers() ? test::RunAs(test::kForeignUid, is_refused)
                                    : is_refused(),
            0);
}

}  // namespace
}  // namespace tandem::app

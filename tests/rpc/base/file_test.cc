#include "rpc/base/file.h"

#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::rpc {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class FileTest : public ::testing::Test {
 protected:
  mode_t ModeOf(const std::string& path) {
    struct stat info = {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 0777;
  }

  testing::TempDir temp_;
  const std::string path_ = temp_.File("file");
};

TEST_F(FileTest, IsReadAsItWasWritten) {
  std::string contents(1 << 20, 'x');
  contents[7] = '\0';
  ASSERT_THAT(WriteFile(path_, contents, 0600), IsOk());
  const auto read = ReadFile(path_);
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(*read, contents);
}

TEST_F(FileTest, HasItsModeWhateverTheUmask) {
  const mode_t before = ::umask(077);
  EXPECT_THAT(WriteFile(path_, "", 0644), IsOk());
  ::umask(before);
  EXPECT_EQ(ModeOf(path_), 0644u);
}

TEST_F(FileTest, ReplacesAFileAndADraftThatACrashLeft) {
  ASSERT_THAT(WriteFile(path_, "a long old text", 0600), IsOk());
  ASSERT_THAT(WriteFile(path_ + ".new", "a longer draft of it", 0600), IsOk());
  ASSERT_THAT(WriteFile(path_, "new", 0600), IsOk());
  EXPECT_EQ(*ReadFile(path_), "new");
  EXPECT_FALSE(std::filesystem::exists(path_ + ".new"));
}

TEST_F(FileTest, ThatFailsToBeReplacedStaysAsItIs) {
  ASSERT_THAT(WriteFile(path_, "old", 0600), IsOk());
  std::filesystem::create_directory(path_ + ".new");
  EXPECT_FALSE(WriteFile(path_, "new", 0600).ok());
  EXPECT_EQ(*ReadFile(path_), "old");
}

TEST_F(FileTest, ErrorsNameThePath) {
  EXPECT_THAT(ReadFile(path_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(path_)));
  EXPECT_THAT(WriteFile(path_ + "/below", "", 0600),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(path_)));
}

TEST_F(FileTest, DirectoryIsMadeForUsAloneAndWhatIsMissingAboveIt) {
  for (const char* name : {"/a/b", "/c/d/", "/e/f//"}) {
    const std::string path = temp_.path() + name;
    ASSERT_THAT(MakeDirectory(path), IsOk()) << name;
    EXPECT_EQ(ModeOf(path), 0700u) << name;
  }
}

TEST_F(FileTest, DirectoryThatIsThereStaysAsItIs) {
  ASSERT_THAT(MakeDirectory(path_), IsOk());
  std::filesystem::permissions(path_, std::filesystem::perms(0751));
  EXPECT_THAT(MakeDirectory(path_), IsOk());
  EXPECT_EQ(ModeOf(path_), 0751u);
  std::filesystem::create_directory_symlink(path_, temp_.File("link"));
  EXPECT_THAT(MakeDirectory(temp_.File("link")), IsOk());
  EXPECT_THAT(MakeDirectory("/"), IsOk());
  EXPECT_THAT(MakeDirectory("."), IsOk());
}

TEST_F(FileTest, DirectoryInThePlaceOfAFileIsRefused) {
  ASSERT_THAT(WriteFile(path_, "text", 0600), IsOk());
  EXPECT_THAT(MakeDirectory(path_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(path_), HasSubstr("not a directory"))));
  EXPECT_FALSE(MakeDirectory(path_ + "/below").ok());
  EXPECT_EQ(*ReadFile(path_), "text");
}

}  // namespace
}  // namespace tandem::rpc

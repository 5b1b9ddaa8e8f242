#include "rpc/server/data_directory.h"

#include <sys/stat.h>

#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/child.h"

namespace tandem::rpc {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

class DataDirectoryTest : public ::testing::Test {
 protected:
  absl::StatusOr<DataDirectory> OpenAt(const std::string& path) {
    return DataDirectory::Open({.path = path,
                                .program = "painter",
                                .store_version = 3,
                                .early_files = {"brush.json"}});
  }
  absl::StatusOr<DataDirectory> Open() { return OpenAt(path()); }

  // Opens it, marks it, and closes it again.
  void Mark(DataDirectory::Facts facts = {}) {
    auto directory = Open();
    ASSERT_THAT(directory, IsOk());
    EXPECT_THAT(directory->Mark(std::move(facts)), IsOk());
  }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_THAT(MakeDirectory(path()), IsOk());
    ASSERT_THAT(WriteFile(path() + "/" + name, text, 0600), IsOk());
  }

  std::string path() const { return temp_.File("data"); }
  bool Exists(const std::string& name) const {
    return std::filesystem::exists(path() + "/" + name);
  }

  testing::TempDir temp_;
};

TEST_F(DataDirectoryTest, IsMadeForUsAlone) {
  const std::string below = path() + "/a/b/";
  ASSERT_THAT(OpenAt(below), IsOk());
  struct stat info;
  ASSERT_EQ(::stat(below.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(DataDirectoryTest, SaysWhoseItIs) {
  Mark({{"color", "blue"}});
  const auto text = ReadFile(path() + "/painter.json");
  ASSERT_THAT(text, IsOk());
  EXPECT_EQ(*text,
            "{\n  \"program\": \"painter\",\n  \"store_version\": 3,\n"
            "  \"color\": \"blue\"\n}\n");
}

TEST_F(DataDirectoryTest, KeepsItsFacts) {
  {
    auto directory = Open();
    ASSERT_THAT(directory, IsOk());
    EXPECT_FALSE(directory->is_marked());
    EXPECT_EQ(directory->Fact("color"), "");
    ASSERT_THAT(directory->Mark({{"color", "blue"}}), IsOk());
    EXPECT_TRUE(directory->is_marked());
    EXPECT_EQ(directory->Fact("color"), "blue");
  }
  Write("a picture", "of what a marked directory holds, nothing is asked");
  const auto again = Open();
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->is_marked());
  EXPECT_EQ(again->Fact("color"), "blue");
  EXPECT_EQ(again->Fact("size"), "");
}

TEST_F(DataDirectoryTest, TakesEarlyFilesAndWhatACrashLeft) {
  for (const char* name :
       {"painter.json.new", "brush.json", "brush.json.new"}) {
    Write(name, "{\"prog");
  }
  EXPECT_THAT(Open(), IsOk());
}

TEST_F(DataDirectoryTest, OfAnotherProgramStaysAsItIs) {
  for (const char* name : {"photo.jpg", "photo.jpg.new", "brush.json.old"}) {
    Write(name, "");
    EXPECT_THAT(Open(),
                StatusIs(kPrecondition,
                         AllOf(HasSubstr(path()), HasSubstr(name),
                               HasSubstr("painter's"), HasSubstr("--data"))));
    std::filesystem::remove(path() + "/" + name);
  }
  EXPECT_TRUE(std::filesystem::is_empty(path()));
}

TEST_F(DataDirectoryTest, MarkerOfAnotherProgramIsRefused) {
  for (const char* text :
       {"", "not json", "[]", "{}", "{\"program\":7}", "\xff",
        "{\"program\":\"cook\",\"store_version\":3}"}) {
    Write("painter.json", text);
    EXPECT_THAT(Open(),
                StatusIs(kPrecondition,
                         AllOf(HasSubstr(path()), HasSubstr("not a painter's"),
                               HasSubstr("--data"))))
        << text;
  }
}

TEST_F(DataDirectoryTest, OfAnotherStoreVersionIsRefused) {
  Write("painter.json", R"({"program":"painter","store_version":4})");
  EXPECT_THAT(Open(),
              StatusIs(kPrecondition, AllOf(HasSubstr("has store version 4"),
                                            HasSubstr("reads version 3"))));
  Write("painter.json", R"({"program":"painter"})");
  EXPECT_THAT(Open(), StatusIs(kPrecondition, HasSubstr("version null")));
}

TEST_F(DataDirectoryTest, MarkerThatCannotBeReadIsNamed) {
  std::filesystem::create_directories(path() + "/painter.json");
  const auto directory = Open();
  ASSERT_FALSE(directory.ok());
  EXPECT_THAT(std::string(directory.status().message()),
              HasSubstr(path() + "/painter.json"));
}

TEST_F(DataDirectoryTest, ThatIsAFileIsRefused) {
  ASSERT_THAT(WriteFile(path(), "text", 0600), IsOk());
  EXPECT_THAT(Open(),
              StatusIs(kPrecondition,
                       AllOf(HasSubstr(path()), HasSubstr("is not a directory"),
                             HasSubstr("--data"))));
  const auto below = OpenAt(path() + "/below");
  ASSERT_FALSE(below.ok());
  EXPECT_THAT(std::string(below.status().message()),
              HasSubstr(path() + "/below"));
}

TEST_F(DataDirectoryTest, InUseByAnotherProcessIsRefusedUntilItIsKilled) {
  test::Pipe is_open;
  test::Child other([&] {
    const auto directory = Open();
    is_open.Write(directory.ok() ? 'y' : 'n');
    test::Pipe().Read();  // Until it is killed.
    return 0;
  });
  ASSERT_EQ(is_open.Read(), 'y');
  EXPECT_THAT(Open(), StatusIs(kPrecondition,
                               AllOf(HasSubstr("in use by another process"),
                                     HasSubstr("stop that painter"))));
  other.Kill();
  EXPECT_THAT(Open(), IsOk());
}

TEST_F(DataDirectoryTest, IsFreeOnceItIsClosed) {
  {
    const auto first = Open();
    ASSERT_THAT(first, IsOk());
    EXPECT_THAT(Open(), StatusIs(kPrecondition, HasSubstr("in use")));
  }
  EXPECT_THAT(Open(), IsOk());
}

// Root may write everywhere, so it looks as somebody else.
TEST_F(DataDirectoryTest, NotOursToWriteIsRefused) {
  Mark();
  ASSERT_EQ(::chmod(temp_.path().c_str(), 0711), 0);
  ASSERT_EQ(::chmod(path().c_str(), 0555), 0);
  const auto is_refused = [this] {
    EXPECT_THAT(Open(),
                StatusIs(absl::StatusCode::kPermissionDenied,
                         AllOf(HasSubstr("cannot write"), HasSubstr(path()))));
    return HasFailure() ? 1 : 0;
  };
  EXPECT_EQ(test::CanBecomeOthers() ? test::RunAs(test::kForeignUid, is_refused)
                                    : is_refused(),
            0);
}

TEST_F(DataDirectoryTest, MarkThatCannotBeWrittenSaysSo) {
  auto directory = Open();
  ASSERT_THAT(directory, IsOk());
  std::filesystem::create_directory(path() + "/painter.json.new");
  const absl::Status status = directory->Mark();
  EXPECT_THAT(std::string(status.message()), HasSubstr(path()));
  EXPECT_FALSE(directory->is_marked());
  EXPECT_FALSE(Exists("painter.json"));
}

TEST_F(DataDirectoryTest, RefusalSaysWhatToDo) {
  const auto directory = Open();
  ASSERT_THAT(directory, IsOk());
  EXPECT_THAT(
      directory->Refusal("is too small"),
      StatusIs(kPrecondition, "the data directory " + path() +
                                  " is too small; name another with --data"));
}

}  // namespace
}  // namespace tandem::rpc

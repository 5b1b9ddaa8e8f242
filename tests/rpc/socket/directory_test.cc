#include "rpc/socket/directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/child.h"
#include "tests/support/descriptors.h"
#include "tests/support/user_namespace.h"

namespace tandem::rpc {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

class DirectoryTest : public ::testing::Test {
 protected:
  DirectoryTest() {
    fs::create_directories(dir_.File("a/b"));
    fs::create_directories(dir_.File("c/d"));
  }

  void ExpectSafe(const std::string& path) const {
    const auto directory = OpenDirectory(path);
    ASSERT_THAT(directory, IsOk());
    EXPECT_THAT(directory->safe, IsOk());
    struct stat opened;
    struct stat named;
    ASSERT_EQ(::fstat(directory->fd.get(), &opened), 0);
    ASSERT_EQ(::stat(path.c_str(), &named), 0);
    EXPECT_EQ(opened.st_ino, named.st_ino);
  }

  // Because of what is at `place`.
  void ExpectUnsafe(const std::string& path, const std::string& place) const {
    const auto directory = OpenDirectory(path);
    ASSERT_THAT(directory, IsOk());
    EXPECT_THAT(directory->safe, StatusIs(absl::StatusCode::kFailedPrecondition,
                                          HasSubstr(" " + place + " (owner")));
  }

  void Chmod(const std::string& name, mode_t mode) const {
    ASSERT_EQ(::chmod(dir_.File(name).c_str(), mode), 0);
  }

  testing::TempDir dir_;
};

TEST_F(DirectoryTest, OursIsSafe) {
  ExpectSafe("/");
  ExpectSafe(dir_.File("a/b"));
  ExpectSafe(dir_.File("a//./b/"));
  ExpectSafe(dir_.File("a/b/../../c/d"));
}

TEST_F(DirectoryTest, NothingIsLeftOpen) {
  const auto before = test::OpenDescriptors();
  ExpectSafe(dir_.File("a/b"));
  EXPECT_EQ(test::OpenDescriptors(), before);
}

TEST_F(DirectoryTest, WhatOthersMayWriteIsNot) {
  for (const mode_t mode : {0777, 0770, 0707, 0720, 0702}) {
    Chmod("a/b", mode);
    ExpectUnsafe(dir_.File("a/b"), dir_.File("a/b"));
  }
  Chmod("a/b", 01777);
  ExpectSafe(dir_.File("a/b"));
}

TEST_F(DirectoryTest, NorIsWhatIsBelowWhatEverybodyMayWrite) {
  Chmod("a", 0777);
  ExpectUnsafe(dir_.File("a/b"), dir_.File("a"));
  Chmod("a", 01777);
  ExpectSafe(dir_.File("a/b"));
}

TEST_F(DirectoryTest, AGroupMayWriteAboveIt) {
  Chmod("a", 0775);
  ExpectSafe(dir_.File("a/b"));
}

TEST_F(DirectoryTest, NorIsWhatADetourLeadsThrough) {
  Chmod("a", 0777);
  ExpectUnsafe(dir_.File("a/../c"), dir_.File("a"));
}

TEST_F(DirectoryTest, NorIsWhatALinkInItLeadsTo) {
  Chmod("a", 0777);
  fs::create_symlink("../c/d", dir_.File("a/link"));
  ExpectUnsafe(dir_.File("a/link"), dir_.File("a"));
  fs::create_symlink(dir_.File("a/link"), dir_.File("c/back"));
  ExpectUnsafe(dir_.File("c/back"), dir_.File("a"));
}

TEST_F(DirectoryTest, LinksOfOursAreSafe) {
  fs::create_symlink("../c/d", dir_.File("a/link"));
  fs::create_symlink(dir_.File("a/link"), dir_.File("c/back"));
  ExpectSafe(dir_.File("c/back"));
  ExpectSafe(dir_.File("c/back/.."));
}

TEST_F(DirectoryTest, ThirdPartiesAreNotTrusted) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  ASSERT_EQ(::chown(dir_.File("a/b").c_str(), test::kForeignUid, 0), 0);
  ExpectUnsafe(dir_.File("a/b"), dir_.File("a/b"));
  Chmod("c", 01777);
  fs::create_symlink("d", dir_.File("c/link"));
  ASSERT_EQ(::lchown(dir_.File("c/link").c_str(), test::kForeignUid, 0), 0);
  ExpectUnsafe(dir_.File("c/link"), dir_.File("c/link"));
  fs::create_directory(dir_.File("c/d/e"));
  ExpectUnsafe(dir_.File("c/link/e"), dir_.File("c/link"));
}

// In a namespace where everybody who has no number there looks like us.
TEST_F(DirectoryTest, TheUnmappedAreNotTrustedThoughTheyLookLikeUs) {
  if (!test::CanMakeUserNamespaces()) {
    GTEST_SKIP() << test::kNeedsUserNamespaces;
  }
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  constexpr uid_t kNobody = 65534;
  Chmod("", 0711);
  Chmod("c", 0755);
  fs::create_symlink(dir_.File("c"), dir_.File("a/link"));
  ASSERT_EQ(::chown(dir_.File("a/b").c_str(), test::kForeignUid + 1, 0), 0);
  ASSERT_EQ(::lchown(dir_.File("a/link").c_str(), test::kForeignUid + 1, 0), 0);
  EXPECT_EQ(test::RunInside(
                {{kNobody, test::kForeignUid}, {0, 0}}, kNobody,
                [&] {
                  struct stat info;
                  EXPECT_EQ(::stat(dir_.File("a/b").c_str(), &info), 0);
                  EXPECT_EQ(info.st_uid, ::geteuid());
                  ExpectUnsafe(dir_.File("a/b"), dir_.File("a/b"));
                  ExpectUnsafe(dir_.File("a/link"), dir_.File("a/link"));
                  const auto trusting =
                      OpenDirectory(dir_.File("a/b"), kNobody);
                  EXPECT_THAT(trusting, IsOk());
                  EXPECT_THAT(trusting->safe,
                              StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("an unmapped uid")));
                  ExpectSafe(dir_.File("c"));
                  return HasFailure();
                }),
            0);
}

TEST_F(DirectoryTest, ThirdPartiesMayHaveWhatIsAboveIt) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  ASSERT_EQ(::chown(dir_.File("a").c_str(), test::kForeignUid, 0), 0);
  ExpectSafe(dir_.File("a/b"));
}

TEST_F(DirectoryTest, WhatCannotBeOpenedIsAnError) {
  std::ofstream(dir_.File("file")) << "x";
  for (const char* name : {"file", "file/x"}) {
    EXPECT_THAT(OpenDirectory(dir_.File(name)),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr(dir_.File(name))));
  }
  EXPECT_THAT(OpenDirectory(dir_.File("none")),
              StatusIs(absl::StatusCode::kNotFound));
  fs::create_symlink("loop", dir_.File("loop"));
  EXPECT_THAT(OpenDirectory(dir_.File("loop")).status().message(),
              HasSubstr("symbolic links"));
}

}  // namespace
}  // namespace tandem::rpc

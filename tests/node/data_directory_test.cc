#include "node/data_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "node/file.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/node/golden.h"
#include "tests/support/child.h"

namespace tandem::node {
namespace {

using rpc::testing::IsOk;
using rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class DataDirectoryTest : public ::testing::Test {
 protected:
  absl::StatusOr<DataDirectory> Open(const std::string& genesis = "",
                                     const std::string& key = "") {
    return DataDirectory::Open(
        {.path = path_, .genesis_file = genesis, .validator_key_file = key});
  }

  std::string Put(const char* name, const std::string& text) {
    const std::string path = dir_.File(name);
    EXPECT_THAT(WriteFile(path, text, 0600), IsOk());
    return path;
  }

  rpc::testing::TempDir dir_;
  const std::string path_ = dir_.File("data/node");
};

TEST_F(DataDirectoryTest, IsMadeAndIsTheSameWhenOpenedAgain) {
  auto first = Open();
  ASSERT_THAT(first, IsOk());
  const std::string chain = first->genesis().chain_id;
  const std::string address = first->key().address();
  first = absl::CancelledError("closed");
  const auto again = Open();
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->genesis().chain_id, chain);
  EXPECT_EQ(again->key().address(), address);
}

TEST_F(DataDirectoryTest, TakesGenesisAndKeyFromFiles) {
  const auto data =
      Open(Put("genesis.json", kGenesisFile), Put("key.json", kKeyFileOne));
  ASSERT_THAT(data, IsOk());
  EXPECT_EQ(data->genesis().chain_id, "golden");
  EXPECT_EQ(ToHex(data->key().address()), kAddressOne);
  EXPECT_FALSE(std::filesystem::exists(path_ + "/priv_validator_key.json"));
}

TEST_F(DataDirectoryTest, KeepsTheGenesisThatItWasGiven) {
  const std::string genesis = Put("genesis.json", kGenesisFile);
  ASSERT_THAT(Open(genesis), IsOk());
  std::filesystem::remove(genesis);
  const auto again = Open();
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->genesis().chain_id, "golden");
}

TEST_F(DataDirectoryTest, AnotherChainsGenesisIsRefused) {
  ASSERT_THAT(Open(Put("genesis.json", kGenesisFile)), IsOk());
  const std::string other = Put(
      "other.json", absl::StrReplaceAll(kGenesisFile, {{"golden", "other"}}));
  EXPECT_THAT(Open(other),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("golden"), HasSubstr("other"))));
}

TEST_F(DataDirectoryTest, AChangedGenesisIsRefused) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(WriteFile(path_ + "/genesis.json", kGenesisFile, 0644), IsOk());
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("changed genesis.json")));
}

TEST_F(DataDirectoryTest, ABrokenGenesisLeavesNothingBehind) {
  EXPECT_THAT(Open(Put("genesis.json", "{}")),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Open(Put("genesis.json", kGenesisFile)), IsOk());
}

TEST_F(DataDirectoryTest, ASecondProcessIsRefused) {
  const auto first = Open();
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("in use by another process")));
}

TEST_F(DataDirectoryTest, AnotherProgramsDirectoryIsRefusedUntouched) {
  ASSERT_TRUE(std::filesystem::create_directories(path_));
  ASSERT_THAT(WriteFile(path_ + "/notes.txt", "mine", 0600), IsOk());
  EXPECT_THAT(Open(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(path_), HasSubstr("notes.txt"))));
  EXPECT_FALSE(std::filesystem::exists(path_ + "/genesis.json"));
}

TEST_F(DataDirectoryTest, AnotherProgramsMarkerIsRefused) {
  ASSERT_TRUE(std::filesystem::create_directories(path_));
  ASSERT_THAT(WriteFile(path_ + "/tandem-node.json",
                        R"({"program": "tandem-kvstore"})", 0600),
              IsOk());
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("is not a tandem-node's")));
}

TEST_F(DataDirectoryTest, AnotherStoreVersionIsRefused) {
  ASSERT_TRUE(std::filesystem::create_directories(path_));
  ASSERT_THAT(
      WriteFile(path_ + "/tandem-node.json",
                R"({"program": "tandem-node", "store_version": 2})", 0600),
      IsOk());
  EXPECT_THAT(Open(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("version 2"), HasSubstr("version 1"))));
}

// Root may write everywhere, so it looks as somebody else.
TEST_F(DataDirectoryTest, ADirectoryThatCannotBeWrittenIsNamed) {
  ASSERT_TRUE(std::filesystem::create_directories(path_));
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
  ASSERT_EQ(::chmod(path_.c_str(), 0555), 0);
  const auto is_refused = [this] {
    EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kPermissionDenied,
                                 HasSubstr(path_)));
    return HasFailure() ? 1 : 0;
  };
  EXPECT_EQ(test::CanBecomeOthers() ? test::RunAs(test::kForeignUid, is_refused)
                                    : is_refused(),
            0);
}

TEST_F(DataDirectoryTest, AFileInItsPlaceIsNamed) {
  Put("data", "a file");
  const auto data = Open();
  ASSERT_FALSE(data.ok());
  EXPECT_THAT(std::string(data.status().message()), HasSubstr(path_));
}

TEST_F(DataDirectoryTest, IsForTheOwnerAlone) {
  ASSERT_THAT(Open(), IsOk());
  struct stat info = {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

}  // namespace
}  // namespace tandem::node

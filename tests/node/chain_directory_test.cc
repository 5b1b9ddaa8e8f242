#include "node/chain_directory.h"

#include <filesystem>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/node/golden.h"

namespace tandem::node {
namespace {

using rpc::testing::IsOk;
using rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class ChainDirectoryTest : public ::testing::Test {
 protected:
  absl::StatusOr<ChainDirectory> Open(const std::string& genesis = "",
                                      const std::string& key = "") {
    return ChainDirectory::Open(
        {.path = path_, .genesis_file = genesis, .validator_key_file = key});
  }

  std::string Put(const char* name, const std::string& text) {
    const std::string path = dir_.File(name);
    EXPECT_THAT(rpc::WriteFile(path, text, 0600), IsOk());
    return path;
  }

  rpc::testing::TempDir dir_;
  const std::string path_ = dir_.File("data/node");
};

TEST_F(ChainDirectoryTest, IsMadeAndIsTheSameWhenOpenedAgain) {
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

TEST_F(ChainDirectoryTest, TakesGenesisAndKeyFromFiles) {
  const auto data =
      Open(Put("genesis.json", kGenesisFile), Put("key.json", kKeyFileOne));
  ASSERT_THAT(data, IsOk());
  EXPECT_EQ(data->genesis().chain_id, "golden");
  EXPECT_EQ(ToHex(data->key().address()), kAddressOne);
  EXPECT_FALSE(std::filesystem::exists(path_ + "/priv_validator_key.json"));
}

TEST_F(ChainDirectoryTest, KeepsTheGenesisThatItWasGiven) {
  const std::string genesis = Put("genesis.json", kGenesisFile);
  ASSERT_THAT(Open(genesis), IsOk());
  std::filesystem::remove(genesis);
  const auto again = Open();
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->genesis().chain_id, "golden");
}

TEST_F(ChainDirectoryTest, AnotherChainsGenesisIsRefused) {
  ASSERT_THAT(Open(Put("genesis.json", kGenesisFile)), IsOk());
  const std::string other = Put(
      "other.json", absl::StrReplaceAll(kGenesisFile, {{"golden", "other"}}));
  EXPECT_THAT(Open(other),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("golden"), HasSubstr("other"))));
}

TEST_F(ChainDirectoryTest, AChangedGenesisIsRefused) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(rpc::WriteFile(path_ + "/genesis.json", kGenesisFile, 0644),
              IsOk());
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("changed genesis.json")));
}

TEST_F(ChainDirectoryTest, ABrokenGenesisLeavesNothingBehind) {
  const std::string broken = Put("genesis.json", "{}");
  EXPECT_THAT(Open(broken), StatusIs(absl::StatusCode::kInvalidArgument,
                                     HasSubstr(broken + ": genesis: ")));
  EXPECT_THAT(Open(Put("genesis.json", kGenesisFile)), IsOk());
}

TEST_F(ChainDirectoryTest, ASecondProcessIsRefused) {
  const auto first = Open();
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("in use by another process")));
}

TEST_F(ChainDirectoryTest, AnotherProgramsDirectoryIsRefusedUntouched) {
  ASSERT_TRUE(std::filesystem::create_directories(path_));
  ASSERT_THAT(rpc::WriteFile(path_ + "/notes.txt", "mine", 0600), IsOk());
  EXPECT_THAT(Open(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(path_), HasSubstr("notes.txt"))));
  EXPECT_FALSE(std::filesystem::exists(path_ + "/genesis.json"));
}

TEST_F(ChainDirectoryTest, IsMarkedWithItsChain) {
  ASSERT_THAT(Open(Put("genesis.json", kGenesisFile)), IsOk());
  const auto genesis = ParseGenesis(kGenesisFile);
  ASSERT_THAT(genesis, IsOk());
  const auto marker = rpc::ReadFile(path_ + "/tandem-node.json");
  ASSERT_THAT(marker, IsOk());
  EXPECT_EQ(*marker,
            "{\n  \"program\": \"tandem-node\",\n  \"store_version\": 2,\n"
            "  \"chain_id\": \"golden\",\n  \"genesis_hash\": \"" +
                ToHex(genesis->hash) + "\"\n}\n");
}

TEST_F(ChainDirectoryTest, ACrashBeforeTheMarkerLosesNothing) {
  auto first = Open();
  ASSERT_THAT(first, IsOk());
  const std::string chain = first->genesis().chain_id;
  const std::string address = first->key().address();
  first = absl::CancelledError("crashed");
  std::filesystem::rename(path_ + "/tandem-node.json",
                          path_ + "/tandem-node.json.new");
  const auto again = Open();
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->genesis().chain_id, chain);
  EXPECT_EQ(again->key().address(), address);
}

}  // namespace
}  // namespace tandem::node

#include "node/validator_key.h"

#include <sys/stat.h>

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
using ::testing::HasSubstr;

class ValidatorKeyTest : public ::testing::Test {
 protected:
  absl::StatusOr<ValidatorKey> LoadText(const std::string& text) {
    EXPECT_THAT(rpc::WriteFile(path_, text, 0600), IsOk());
    return ValidatorKey::Load(path_);
  }

  rpc::testing::TempDir dir_;
  const std::string path_ = dir_.File("key.json");
};

TEST_F(ValidatorKeyTest, ReadsCometBftsFile) {
  const auto key = LoadText(kKeyFileOne);
  ASSERT_THAT(key, IsOk());
  EXPECT_EQ(ToHex(key->public_key()), kKeyOne);
  EXPECT_EQ(ToHex(key->address()), kAddressOne);
}

TEST_F(ValidatorKeyTest, SignsAsCometBftDoes) {
  const auto key = LoadText(kKeyFileOne);
  ASSERT_THAT(key, IsOk());
  EXPECT_EQ(ToHex(key->Sign("hello")), kSignatureOne);
}

TEST_F(ValidatorKeyTest, AMadeKeyIsTheSameWhenReadAgain) {
  const auto made = ValidatorKey::LoadOrCreate(path_);
  ASSERT_THAT(made, IsOk());
  const auto again = ValidatorKey::LoadOrCreate(path_);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->public_key(), made->public_key());
  EXPECT_EQ(again->Sign("x"), made->Sign("x"));
}

TEST_F(ValidatorKeyTest, OnlyTheOwnerReadsAMadeKey) {
  const mode_t old_mask = ::umask(0);
  ASSERT_THAT(ValidatorKey::LoadOrCreate(path_), IsOk());
  ::umask(old_mask);
  struct stat info = {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(ValidatorKeyTest, AMissingFileIsNotFound) {
  EXPECT_THAT(ValidatorKey::Load(path_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(path_)));
}

TEST_F(ValidatorKeyTest, WhatIsNoKeyIsRefusedAndStays) {
  for (const std::string text :
       {"", "[]", "{", "{}", R"({"priv_key": 5})",
        R"({"priv_key": {"type": 1, "value": 2}})",
        R"({"priv_key": {"type": "tendermint/PrivKeySecp256k1"}})"}) {
    EXPECT_THAT(LoadText(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path_)))
        << text;
    EXPECT_THAT(ValidatorKey::LoadOrCreate(path_),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST_F(ValidatorKeyTest, HalvesOfDifferentKeysAreRefused) {
  // The public half of both fields is another key's.
  const std::string other = absl::Base64Escape(FromHex(kKeyTwo));
  const std::string seed = FromHex(
      "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
  const std::string pair = absl::Base64Escape(seed + FromHex(kKeyTwo));
  EXPECT_THAT(
      LoadText(
          R"({"pub_key": {"type": "tendermint/PubKeyEd25519", "value": ")" +
          other +
          R"("}, "priv_key": {"type": "tendermint/PrivKeyEd25519", )"
          R"("value": ")" +
          pair + R"("}})"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("do not belong together")));
  EXPECT_THAT(LoadText(absl::StrReplaceAll(
                  kKeyFileOne,
                  {{"eGVygzLgOmO2RCtC75jusdS+/R6cUDK4PXD2Tl9VGlA=", other}})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("does not belong")));
}

}  // namespace
}  // namespace tandem::node

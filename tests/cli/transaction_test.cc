#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string_view>

#include "absl/strings/escaping.h"
#include "rpc/base/sha256.h"
#include "tests/cli/cli.h"

namespace tandem::node::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

// Of "color=blue", and of nothing that is submitted.
constexpr char kHash[] =
    "05964ac858f1d9d717aea7043a3fe18428f579b455eda3895a4de7a2c21f30b2";
constexpr char kOther[] =
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

class TransactionTest : public ::testing::Test {
 protected:
  TransactionTest() { cli_.Run({"submit"}, "color=blue\n"); }

  Cli cli_;
  const std::unique_ptr<Running> up_ = cli_.Up();
};

TEST_F(TransactionTest, SaysWhereItIsCommitted) {
  const Outcome outcome = cli_.Run({"tx", kHash});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              HasSubstr(": committed in block 2, place 0, code 0"));
}

TEST_F(TransactionTest, EachHasItsPlaceInItsBlock) {
  ASSERT_EQ(cli_.Run({"submit"}, "a=1\nb=2\nc=3\n").status, 0);
  const auto hash = [](std::string_view tx) {
    return absl::BytesToHexString(rpc::Sha256(tx));
  };
  const auto objects =
      cli_.Run({"tx", "--json", hash("c=3"), kHash, hash("a=1"), hash("b=2")})
          .Objects();
  ASSERT_THAT(objects, SizeIs(4));
  EXPECT_EQ(objects[0]["height"], 3);
  EXPECT_EQ(objects[0]["hash"], hash("c=3"));
  EXPECT_EQ(objects[0]["index"], 2);
  EXPECT_EQ(objects[1]["height"], 2);
  EXPECT_EQ(objects[1]["index"], 0);
  EXPECT_EQ(objects[2]["hash"], hash("a=1"));
  EXPECT_EQ(objects[2]["index"], 0);
  EXPECT_EQ(objects[3]["height"], 3);
  EXPECT_EQ(objects[3]["index"], 1);
}

TEST_F(TransactionTest, OneThatIsNotThereIsAnError) {
  const Outcome outcome = cli_.Run({"tx", kOther, kHash});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr("none of the blocks 1 to 2"));
  EXPECT_THAT(outcome.out, HasSubstr("committed in block 2"));
}

TEST_F(TransactionTest, WhatIsNoHashIsRefused) {
  EXPECT_THAT(cli_.Run({"tx", "xyz"}).err, HasSubstr("not hexadecimal"));
  EXPECT_THAT(cli_.Run({"tx", "ffff"}).err, HasSubstr("a hash has 32 bytes"));
}

TEST_F(TransactionTest, SaysObjects) {
  const auto objects = cli_.Run({"tx", "--json", kHash, kOther}).Objects();
  ASSERT_THAT(objects, SizeIs(2));
  EXPECT_EQ(objects[0]["hash"], kHash);
  EXPECT_EQ(objects[0]["state"], "committed");
  EXPECT_EQ(objects[0]["height"], 2);
  EXPECT_EQ(objects[0]["code"], 0);
  EXPECT_EQ(objects[1]["state"], "not found");
}

}  // namespace
}  // namespace tandem::node::testing

#include "rpc/base/unmapped_id.h"

#include "gtest/gtest.h"
#include "tests/support/user_namespace.h"

namespace tandem::rpc {
namespace {

TEST(UnmappedIdTest, OutsideOfContainersThereAreAllIds) {
  EXPECT_TRUE(HasAllIds("         0          0 4294967295\n"));
  EXPECT_TRUE(HasAllIds("0 0 65536\n65536 65536 4294901759\n"));
}

TEST(UnmappedIdTest, ANamespaceWithFewerIdsDoesNotHaveAll) {
  EXPECT_FALSE(HasAllIds("         0       1000          1\n"));
  EXPECT_FALSE(HasAllIds("0 100000 65536\n"));
  EXPECT_FALSE(HasAllIds("0 0 4294967294\n"));
}

TEST(UnmappedIdTest, WhatIsNoMapHasNoIds) {
  for (const char* text : {"", "\n", "x", "0 0", "0 0 4294967295 x",
                           "0 0 99999999999999999999999\n"}) {
    EXPECT_FALSE(HasAllIds(text)) << text;
  }
}

TEST(UnmappedIdTest, OutsideOfContainersEveryNumberIsAUser) {
  if (!test::CanMakeUserNamespaces()) {
    GTEST_SKIP() << test::kNeedsUserNamespaces;
  }
  EXPECT_TRUE(IsUser(65534, 65534));
  EXPECT_FALSE(IsUser(65534, 0));
  EXPECT_EQ(UidName(65534), "uid 65534");
}

TEST(UnmappedIdTest, InsideTheNumberOfTheUnmappedIsNobodyEvenIfItIsOurs) {
  if (!test::CanMakeUserNamespaces()) {
    GTEST_SKIP() << test::kNeedsUserNamespaces;
  }
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  EXPECT_EQ(test::RunInside({{65534, test::kForeignUid}, {7, 0}}, 65534,
                            [] {
                              EXPECT_EQ(::geteuid(), 65534u);
                              EXPECT_FALSE(IsUser(65534, ::geteuid()));
                              EXPECT_TRUE(IsUser(7, 7));
                              EXPECT_EQ(UidName(65534),
                                        "an unmapped uid (shown as 65534)");
                              return ::testing::Test::HasFailure() ? 1 : 0;
                            }),
            0);
}

}  // namespace
}  // namespace tandem::rpc

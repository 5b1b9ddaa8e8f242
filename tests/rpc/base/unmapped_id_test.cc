#include "rpc/base/unmapped_id.h"

#include "gtest/gtest.h"

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

}  // namespace
}  // namespace tandem::rpc

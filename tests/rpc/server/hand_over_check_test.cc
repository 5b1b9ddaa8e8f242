#include "rpc/server/hand_over_check.h"

#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "tests/support/descriptors.h"
#include "tests/support/eventually.h"

namespace tandem::rpc {
namespace {

TEST(HandOverCheckTest, TheGrpcThatWeBuildWithPasses) {
  EXPECT_THAT(CheckHandOver(), testing::IsOk());
}

TEST(HandOverCheckTest, LeavesNoDescriptorBehind) {
  // The first opens what gRPC keeps for the life of the process.
  ASSERT_THAT(CheckHandOver(), testing::IsOk());
  const auto before = test::OpenDescriptors();
  ASSERT_THAT(CheckHandOver(), testing::IsOk());
  EXPECT_TRUE(test::Eventually(
      [&] { return test::OpenDescriptors().size() <= before.size(); }));
}

}  // namespace
}  // namespace tandem::rpc

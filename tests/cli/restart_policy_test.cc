#include "node/cli/restart_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tandem::node {
namespace {

using ::testing::Eq;
using ::testing::Optional;

constexpr absl::Duration kSoon = absl::Milliseconds(3);

TEST(RestartPolicyTest, TheFirstRestartIsAtOnceAndTheNextOnesWaitLonger) {
  RestartPolicy policy;
  EXPECT_THAT(policy.Ended(kSoon), Optional(absl::ZeroDuration()));
  EXPECT_THAT(policy.Ended(kSoon), Optional(absl::Milliseconds(100)));
  EXPECT_THAT(policy.Ended(kSoon), Optional(absl::Milliseconds(200)));
  EXPECT_THAT(policy.Ended(kSoon), Optional(absl::Milliseconds(400)));
}

TEST(RestartPolicyTest, TheFifthFastEndInARowIsTheLast) {
  RestartPolicy policy;
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(policy.Ended(kSoon).has_value());
  EXPECT_THAT(policy.Ended(kSoon), Eq(std::nullopt));
}

TEST(RestartPolicyTest, AProgramThatRanWellBeginsAnew) {
  RestartPolicy policy;
  for (int i = 0; i < 4; ++i) policy.Ended(kSoon);
  EXPECT_THAT(policy.Ended(RestartPolicy::kRanWell),
              Optional(absl::ZeroDuration()));
  EXPECT_THAT(policy.Ended(kSoon), Optional(absl::Milliseconds(100)));
}

TEST(RestartPolicyTest, OneThatAlwaysRunsWellIsNeverGivenUp) {
  RestartPolicy policy;
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(policy.Ended(absl::Hours(1)), Optional(absl::ZeroDuration()));
  }
}

}  // namespace
}  // namespace tandem::node

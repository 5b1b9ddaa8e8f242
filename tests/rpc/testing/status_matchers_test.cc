#include "rpc/testing/status_matchers.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem::rpc::testing {
namespace {

using ::testing::AnyOf;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Ne;
using ::testing::Not;
using ::testing::Pointee;
using ::testing::StringMatchResultListener;

const absl::Status kMissing = absl::NotFoundError("no key k");

TEST(StatusMatchersTest, IsOkMatchesStatusAndStatusOr) {
  EXPECT_THAT(absl::OkStatus(), IsOk());
  EXPECT_THAT(absl::StatusOr<int>(1), IsOk());
  EXPECT_THAT(kMissing, Not(IsOk()));
  EXPECT_THAT(absl::StatusOr<int>(kMissing), Not(IsOk()));
}

TEST(StatusMatchersTest, IsOkAndHoldsTakesValuesAndMatchers) {
  EXPECT_THAT(absl::StatusOr<int>(3), IsOkAndHolds(3));
  EXPECT_THAT(absl::StatusOr<int>(3), IsOkAndHolds(Gt(2)));
  EXPECT_THAT(absl::StatusOr<int>(3), Not(IsOkAndHolds(4)));
  EXPECT_THAT(absl::StatusOr<int>(kMissing), Not(IsOkAndHolds(3)));
}

TEST(StatusMatchersTest, IsOkAndHoldsTakesMoveOnlyValues) {
  const absl::StatusOr<std::unique_ptr<int>> value = std::make_unique<int>(3);
  EXPECT_THAT(value, IsOkAndHolds(Pointee(3)));
}

TEST(StatusMatchersTest, StatusIsLooksAtTheCodeAndTheMessage) {
  EXPECT_THAT(kMissing, StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(kMissing, StatusIs(absl::StatusCode::kNotFound, "no key k"));
  EXPECT_THAT(kMissing,
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("key")));
  EXPECT_THAT(kMissing, Not(StatusIs(absl::StatusCode::kInternal)));
  EXPECT_THAT(kMissing,
              Not(StatusIs(absl::StatusCode::kNotFound, HasSubstr("other"))));
  EXPECT_THAT(absl::StatusOr<int>(kMissing),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(absl::StatusOr<int>(3), StatusIs(absl::StatusCode::kOk));
}

TEST(StatusMatchersTest, StatusIsTakesAMatcherForTheCode) {
  EXPECT_THAT(kMissing, StatusIs(AnyOf(absl::StatusCode::kInternal,
                                       absl::StatusCode::kNotFound)));
  EXPECT_THAT(kMissing, Not(StatusIs(Ne(absl::StatusCode::kNotFound))));
}

TEST(StatusMatchersTest, AMismatchShowsTheWholeStatus) {
  StringMatchResultListener listener;
  EXPECT_FALSE(::testing::ExplainMatchResult(IsOk(), kMissing, &listener));
  EXPECT_EQ(listener.str(), "which is NOT_FOUND: no key k");
}

}  // namespace
}  // namespace tandem::rpc::testing

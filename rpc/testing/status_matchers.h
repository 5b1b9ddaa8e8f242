// gMock matchers for absl::Status and absl::StatusOr.
//
//   ASSERT_THAT(pair.Start(), IsOk());
//   EXPECT_THAT(store.Get(request), IsOkAndHolds(Property(&GetReply::value,
//   "1"))); EXPECT_THAT(store.Get(request),
//   StatusIs(absl::StatusCode::kNotFound)); EXPECT_THAT(status,
//   StatusIs(absl::StatusCode::kUnavailable,
//                                HasSubstr("/run/kv.sock")));
//
// Code inside namespace tandem::rpc names gTest's own namespace ::testing, with
// the colons, because this one is nearer.

#ifndef TANDEM_RPC_TESTING_STATUS_MATCHERS_H_
#define TANDEM_RPC_TESTING_STATUS_MATCHERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

namespace tandem::rpc::testing {

inline const absl::Status& StatusOf(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& value) {
  return value.status();
}

// Matches an OK status, or a StatusOr that holds a value.
MATCHER(IsOk, negation ? "is not OK" : "is OK") {
  if (!arg.ok()) *result_listener << "which is " << StatusOf(arg);
  return arg.ok();
}

// Matches a StatusOr that holds a value which `value` (a matcher or a value)
// matches.
MATCHER_P(IsOkAndHolds, value,
          (negation ? "is not OK or does not hold " : "is OK and holds ") +
              ::testing::PrintToString(value)) {
  if (!arg.ok()) {
    *result_listener << "which is " << arg.status();
    return false;
  }
  return ::testing::ExplainMatchResult(value, *arg, result_listener);
}

// Matches a status, or a StatusOr without a value, of this code (or of one that
// a matcher such as AnyOf matches).
MATCHER_P(StatusIs, code,
          "has a code that " +
              ::testing::DescribeMatcher<absl::StatusCode>(code, negation)) {
  *result_listener << "which is " << StatusOf(arg);
  return ::testing::Matches(code)(StatusOf(arg).code());
}

// The same, and `message` (a matcher or a string) matches its message.
MATCHER_P2(StatusIs, code, message,
           std::string(negation ? "not: " : "") + "has a code that " +
               ::testing::DescribeMatcher<absl::StatusCode>(code) +
               " and a message that " +
               ::testing::DescribeMatcher<std::string>(message)) {
  *result_listener << "which is " << StatusOf(arg) << ", ";
  return ::testing::Matches(code)(StatusOf(arg).code()) &&
         ::testing::ExplainMatchResult(
             message, std::string(StatusOf(arg).message()), result_listener);
}

}  // namespace tandem::rpc::testing

#endif  // TANDEM_RPC_TESTING_STATUS_MATCHERS_H_

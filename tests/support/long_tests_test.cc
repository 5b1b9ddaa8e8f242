#include "tests/support/long_tests.h"

#include <cstdlib>

#include "gtest/gtest.h"

namespace tandem::test {
namespace {

constexpr char kVariable[] = "TANDEM_LONG_TESTS";

bool IsLongWith(const char* value) {
  ::setenv(kVariable, value, /*replace=*/1);
  return IsLong();
}

TEST(LongTestsTest, AreShortUnlessAskedFor) {
  ::unsetenv(kVariable);
  EXPECT_FALSE(IsLong());
  EXPECT_FALSE(IsLongWith(""));
  EXPECT_FALSE(IsLongWith("0"));
  EXPECT_TRUE(IsLongWith("1"));
}

}  // namespace
}  // namespace tandem::test

// Whether tests that repeat themselves do so for long.

#ifndef TANDEM_TESTS_SUPPORT_LONG_TESTS_H_
#define TANDEM_TESTS_SUPPORT_LONG_TESTS_H_

#include <cstdlib>
#include <string>

namespace tandem::test {

// True with TANDEM_LONG_TESTS=1 in the environment; not when that is empty or
// "0".
inline bool IsLong() {
  const char* const wanted = std::getenv("TANDEM_LONG_TESTS");
  if (wanted == nullptr) return false;
  const std::string value = wanted;
  return !value.empty() && value != "0";
}

}  // namespace tandem::test

#endif  // TANDEM_TESTS_SUPPORT_LONG_TESTS_H_

// The wire between a node and an application in tests.

#ifndef TANDEM_TESTS_SUPPORT_WIRE_H_
#define TANDEM_TESTS_SUPPORT_WIRE_H_

#include <cstdlib>
#include <string>

namespace tandem::test {

// What is in the environment as TANDEM_TEST_WIRE: "socket" or "grpc", in the
// words of tandem-node's --wire; else `otherwise`. The CMakeLists.txt of a
// folder says which of its tests run over several.
inline std::string WireOr(const std::string& otherwise) {
  const char* const wire = std::getenv("TANDEM_TEST_WIRE");
  return wire == nullptr ? otherwise : wire;
}

}  // namespace tandem::test

#endif  // TANDEM_TESTS_SUPPORT_WIRE_H_

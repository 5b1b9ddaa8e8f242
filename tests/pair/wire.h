// The wire between the programs of a test.

#ifndef TANDEM_TESTS_PAIR_WIRE_H_
#define TANDEM_TESTS_PAIR_WIRE_H_

#include <cstdlib>
#include <string>

namespace tandem {

// What tandem-node is given as --wire: "socket", or what is in the environment
// as TANDEM_TEST_WIRE. CMakeLists.txt says which tests run with "grpc" too.
inline std::string WireOfTests() {
  const char* const wire = std::getenv("TANDEM_TEST_WIRE");
  return wire == nullptr ? "socket" : wire;
}

}  // namespace tandem

#endif  // TANDEM_TESTS_PAIR_WIRE_H_

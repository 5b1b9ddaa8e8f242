// Named places at which a test lets a program crash.

#ifndef TANDEM_RPC_BASE_FAIL_POINT_H_
#define TANDEM_RPC_BASE_FAIL_POINT_H_

#include <string_view>

namespace tandem::rpc {

// Whether this program was started with one of the variables below. Constant
// once main() runs.
extern const bool has_fail_points;

// Passes a fail point while there are some: see FailPoint().
void PassFailPoint(std::string_view name);

// Stands at each durable step, so that tests crash a program there. Costs one
// load and one branch, unless the program's environment has
//   TANDEM_FAIL_POINT=NAME or NAME:N   the program kills itself (SIGKILL) when
//                                      it passes NAME for the N-th time (1)
//   TANDEM_FAIL_POINT_TRACE=FILE       each pass appends NAME, as a line,
//   before
//                                      that happens; a trace that cannot be
//                                      written ends the program with status 2,
//                                      as does an N that is no number over 0
// tests/pair/fail_points_test.cc walks all of them.
//
// Thread safety: thread-safe.
inline void FailPoint(std::string_view name) {
  if (has_fail_points) [[unlikely]] {
    PassFailPoint(name);
  }
}

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_BASE_FAIL_POINT_H_

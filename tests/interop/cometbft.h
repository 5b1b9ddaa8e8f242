// The CometBFTs that Tandem is tested with.

#ifndef TANDEM_TESTS_INTEROP_COMETBFT_H_
#define TANDEM_TESTS_INTEROP_COMETBFT_H_

#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"

namespace tandem::test {

// A version of it, and the wire between it and an application: what the tests
// around it are given.
struct CometBft {
  std::string version;  // "v0.38.23"
  std::string wire;     // "socket" or "grpc", in its words
};

// "v0_38_23_socket"
inline std::string NameOf(const CometBft& cometbft) {
  return absl::StrCat(absl::StrReplaceAll(cometbft.version, {{".", "_"}}), "_",
                      cometbft.wire);
}

inline void PrintTo(const CometBft& cometbft, std::ostream* out) {
  *out << NameOf(cometbft);
}

inline auto AllCometBfts() {
  return ::testing::Values(
      CometBft{"v0.38.23", "socket"}, CometBft{"v0.38.23", "grpc"},
      CometBft{"v0.40.0", "socket"}, CometBft{"v0.40.0", "grpc"});
}

}  // namespace tandem::test

#endif  // TANDEM_TESTS_INTEROP_COMETBFT_H_

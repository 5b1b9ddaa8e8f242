// Other people's programs, built from their Go modules.

#ifndef TANDEM_TESTS_INTEROP_GO_PROGRAM_H_
#define TANDEM_TESTS_INTEROP_GO_PROGRAM_H_

#include <string>

#include "absl/status/statusor.h"

namespace tandem::test {

// The path of the program `package`@`version`, such as
// "github.com/cometbft/cometbft/cmd/cometbft" at "v0.38.23". The first call
// builds it, which takes a minute or two and the network; later ones, of other
// processes too, find it in $XDG_CACHE_HOME/tandem/interop (~/.cache/...).
//
// Errors: kUnavailable, with what is missing and how to get it: then the test
// that asked is to be skipped.
absl::StatusOr<std::string> GoProgram(const std::string& package,
                                      const std::string& version);

}  // namespace tandem::test

#endif  // TANDEM_TESTS_INTEROP_GO_PROGRAM_H_

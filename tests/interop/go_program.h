// Programs built from Go modules: other people's, and ours that use theirs.

#ifndef TANDEM_TESTS_INTEROP_GO_PROGRAM_H_
#define TANDEM_TESTS_INTEROP_GO_PROGRAM_H_

#include <string>
#include <vector>

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

struct GoModuleOptions {
  // Of the sources.
  std::string directory;
  // In it.
  std::string proto;
  // What protoc makes Go code with.
  struct Plugin {
    std::string name;     // "go" of --go_out
    std::string program;  // GoProgram()
    std::string options;  // --go_opt
  };
  std::vector<Plugin> plugins;
};

// The path of the program that is a module of ours. Built anew by every
// process, which is fast where nothing has changed. Errors: as above.
absl::StatusOr<std::string> GoModule(const GoModuleOptions& options);

}  // namespace tandem::test

#endif  // TANDEM_TESTS_INTEROP_GO_PROGRAM_H_

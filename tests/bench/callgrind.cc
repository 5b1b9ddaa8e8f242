#include "tests/bench/callgrind.h"

#include <fstream>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace tandem::bench {

std::vector<std::string> UnderCallgrind(const std::string& file) {
  return {"/usr/bin/taskset",
          "-c",
          "0",
          "/usr/bin/valgrind",
          "--tool=callgrind",
          "--callgrind-out-file=" + file};
}

absl::StatusOr<double> InstructionsIn(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    const std::vector<std::string> words =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    double count = 0;
    if (words.size() == 2 &&
        (words[0] == "totals:" || words[0] == "summary:") &&
        absl::SimpleAtod(words[1], &count)) {
      return count;
    }
  }
  return absl::NotFoundError("no total in " + path);
}

}  // namespace tandem::bench

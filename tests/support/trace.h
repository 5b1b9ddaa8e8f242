// Recorded traces of the app contract, in tests.

#ifndef TANDEM_TESTS_SUPPORT_TRACE_H_
#define TANDEM_TESTS_SUPPORT_TRACE_H_

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/abci/contract_checker.h"
#include "proto/abci/trace_file.h"

namespace tandem {

// What the trace shows to be against the contract, and why it cannot be read.
inline std::vector<std::string> ViolationsIn(
    const std::string& path, abci::ContractChecker::Options options = {}) {
  const auto reader = abci::TraceReader::Open(path);
  if (!reader.ok()) return {reader.status().ToString()};
  abci::ContractChecker checker(options);
  std::vector<std::string> found;
  while (true) {
    const auto record = (*reader)->Next();
    if (!record.ok()) found.push_back(record.status().ToString());
    if (!record.ok() || !*record) return found;
    checker.Take(**record);
    for (const abci::Violation& violation : checker.TakeViolations()) {
      found.push_back(absl::StrCat(path, ", record ", violation.record, ": ",
                                   violation.rule, ": ", violation.what));
    }
  }
}

}  // namespace tandem

#endif  // TANDEM_TESTS_SUPPORT_TRACE_H_

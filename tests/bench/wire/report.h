// What a run of the benchmark found, as a table and as JSON.

#ifndef TANDEM_TESTS_BENCH_WIRE_REPORT_H_
#define TANDEM_TESTS_BENCH_WIRE_REPORT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tests/bench/wire/cell.h"
#include "tests/bench/wire/peers.h"

namespace tandem::bench {

// Of one subject in one cell.
struct Row {
  std::string subject;
  std::vector<Measured> rounds;
};

// Thread safety: thread-compatible.
class Report {
 public:
  // Describes the machine.
  explicit Report(const std::string& mode);

  // Prints a table, rates against those of the first row and of "frames".
  void Add(const Cell& cell, const std::vector<Row>& rows);
  // Of each call, with a message of `payload` bytes.
  void AddAllocations(const std::string& subject, const Cell& cell,
                      double client, double server);
  void AddInstructions(const std::string& subject, const Cell& cell,
                       double client, double server);
  // What is missing, and why.
  void AddSkipped(const std::string& subject, const std::string& why);

  // Errors: kDataLoss.
  absl::Status Write(const std::string& path);

 private:
  void AddPerCall(const std::string& what, const std::string& subject,
                  const Cell& cell, double client, double server);

  nlohmann::ordered_json json_;
};

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_REPORT_H_

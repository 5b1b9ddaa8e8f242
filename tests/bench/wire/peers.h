// The two processes of a subject.

#ifndef TANDEM_TESTS_BENCH_WIRE_PEERS_H_
#define TANDEM_TESTS_BENCH_WIRE_PEERS_H_

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/testing/process.h"
#include "rpc/testing/temp_dir.h"
#include "tests/bench/wire/cell.h"
#include "tests/bench/wire/line_socket.h"
#include "tests/bench/wire/subjects.h"

namespace tandem::bench {

struct PeersOptions {
  // The program in Go, where the subject is of that.
  std::string go_program = {};
  // Stand before the commands: taskset, valgrind. "{}" in them is a file of the
  // process's own (Peers::file()).
  std::vector<std::string> under_server = {};
  std::vector<std::string> under_client = {};
  // Counts what is allocated (allocation_counter.cc): the library's path.
  std::string allocation_counter = {};
};

struct Measured {
  Figures figures;
  absl::Duration client_cpu;
  absl::Duration server_cpu;
  // Cores that other processes kept busy meanwhile.
  double foreign = 0;
  // Where they are counted.
  std::int64_t client_allocations = 0;
  std::int64_t server_allocations = 0;
};

// A server and a client, which end with the object.
//
// Thread safety: thread-compatible.
class Peers {
 public:
  // Returns once the client has connected to the server. Errors: of a process
  // that ends instead, with the end of what it wrote.
  static absl::StatusOr<std::unique_ptr<Peers>> Start(
      const Subject& subject, const PeersOptions& options);

  // Errors: those of FiguresFrom(); kUnavailable once the client has ended.
  absl::StatusOr<Measured> Measure(const Cell& cell);

  // Lets both end by themselves.
  absl::Status Stop();

  const Subject& subject() const { return subject_; }
  // Of "server" or "client".
  std::string file(std::string_view whose) const;

 private:
  explicit Peers(const Subject& subject) : subject_(subject) {}

  absl::StatusOr<std::unique_ptr<rpc::testing::Process>> StartOne(
      std::string_view whose, const std::vector<std::string>& under,
      std::vector<std::string> command, const PeersOptions& options);
  absl::Status AwaitClient(int listener);
  absl::Status WithLog(std::string_view whose, const std::string& why) const;
  std::int64_t Allocations(std::string_view whose) const;

  const Subject& subject_;
  const rpc::testing::TempDir dir_;
  std::unique_ptr<rpc::testing::Process> server_;
  std::unique_ptr<rpc::testing::Process> client_;
  std::optional<LineSocket> control_;
};

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_PEERS_H_

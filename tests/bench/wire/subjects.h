// What is measured.

#ifndef TANDEM_TESTS_BENCH_WIRE_SUBJECTS_H_
#define TANDEM_TESTS_BENCH_WIRE_SUBJECTS_H_

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/bench/wire/caller.h"

namespace tandem::bench {

// A way to call.
struct Subject {
  // "ttrpc", or "grpc-tcp" for the same as "grpc" over TCP.
  std::string_view name;
  std::string_view what;
  // Run in processes of their own: the first until it is told to end. Null: the
  // program in Go has these (go_peers.h).
  absl::Status (*serve)(const std::string& address) = nullptr;
  absl::StatusOr<std::unique_ptr<Caller>> (*call)(const std::string& address) =
      nullptr;
  bool is_tcp = false;

  bool is_go() const { return serve == nullptr; }
};

// Those that others are compared with come first.
std::span<const Subject> Subjects();

// Errors: kNotFound.
absl::StatusOr<const Subject*> FindSubject(std::string_view name);

// What the client's process does: takes cells from the driver, who listens at
// `control`, and answers them, until the driver ends.
absl::Status RunClient(const Subject& subject, const std::string& address,
                       const std::string& control);

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_SUBJECTS_H_

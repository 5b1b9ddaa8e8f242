// Lines of text over a socket.

#ifndef TANDEM_TESTS_BENCH_WIRE_LINE_SOCKET_H_
#define TANDEM_TESTS_BENCH_WIRE_LINE_SOCKET_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/base/unique_fd.h"

namespace tandem::bench {

// Thread safety: thread-compatible.
class LineSocket {
 public:
  explicit LineSocket(rpc::UniqueFd fd) : fd_(std::move(fd)) {}

  // Adds the end of the line.
  absl::Status Send(std::string line);
  // Blocks. Errors: kUnavailable at the end.
  absl::StatusOr<std::string> Receive();

 private:
  rpc::UniqueFd fd_;
  std::string unread_;
};

}  // namespace tandem::bench

#endif  // TANDEM_TESTS_BENCH_WIRE_LINE_SOCKET_H_

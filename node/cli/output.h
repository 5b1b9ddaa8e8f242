// Standard output, which may be a pipe that its reader closes.

#ifndef TANDEM_NODE_CLI_OUTPUT_H_
#define TANDEM_NODE_CLI_OUTPUT_H_

#include <string_view>

#include "absl/status/status.h"

namespace tandem::node {

// Writes to standard output. The process ignores SIGPIPE.
//
// Errors: kCancelled once the reader has gone away, and is_closed() is true
// then; kDataLoss when the disk is full, or for another reason of write(2).
// Thread safety: thread-compatible.
class Output {
 public:
  // Writes `text` and a newline, buffered.
  absl::Status Line(std::string_view text);
  // Writes `bytes` as they are, buffered.
  absl::Status Bytes(std::string_view bytes);
  // Hands what is buffered to the reader.
  absl::Status Flush();

  bool is_closed() const { return is_closed_; }

 private:
  absl::Status Failed();

  bool is_closed_ = false;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_OUTPUT_H_

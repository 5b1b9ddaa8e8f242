// Lines of a file or a pipe, as they come.

#ifndef TANDEM_NODE_CLI_LINE_READER_H_
#define TANDEM_NODE_CLI_LINE_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "rpc/base/unique_fd.h"

namespace tandem::node {

// Reads a descriptor line by line.
//
// Thread safety: thread-compatible.
class LineReader {
 public:
  struct Line {
    std::string text;  // Without the newline.
    // The line has more than max_bytes: `text` is only how it begins.
    bool is_cut = false;
  };

  // Reads from `file`; holds no more than about `max_bytes` of a line.
  LineReader(rpc::UniqueFd file, std::size_t max_bytes)
      : file_(std::move(file)), max_bytes_(max_bytes) {}

  // Waits for the next line; false at the end of the input. The last line may
  // lack its newline. Errors: those of read(2).
  absl::StatusOr<bool> Next(Line& line);

  // True when Next() would have to wait for whoever writes the input.
  bool WouldWait() const;

  // Bytes read so far.
  std::uint64_t position() const { return position_; }

 private:
  // Reads more into buffer_; false at the end.
  absl::StatusOr<bool> Fill();

  const rpc::UniqueFd file_;
  const std::size_t max_bytes_;
  std::string buffer_;
  std::size_t begin_ = 0;  // What is before it was handed out.
  bool at_end_ = false;
  std::uint64_t position_ = 0;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_LINE_READER_H_

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

// Reads a descriptor line by line, until it is told to stop.
//
// Thread safety: thread-compatible.
class LineReader {
 public:
  struct Line {
    std::string text;  // Without the newline.
    // The line has more than max_bytes: `text` is only how it begins.
    bool is_cut = false;
  };

  // Reads from `file`, which errors call `name`; holds no more than about
  // `max_bytes` of a line. Reads no more once `stop` is readable; it must
  // outlive this.
  LineReader(rpc::UniqueFd file, std::string name, std::size_t max_bytes,
             int stop)
      : file_(std::move(file)),
        name_(std::move(name)),
        max_bytes_(max_bytes),
        stop_(stop) {}

  // Waits for the next line; false at the end of the input, or when it is to
  // stop. The last line of an input may lack its newline. Errors: those of
  // read(2), with the name.
  absl::StatusOr<bool> Next(Line& line);

  // True when Next() would have to wait for whoever writes the input.
  bool WouldWait() const;

  // Bytes read so far.
  std::uint64_t position() const { return position_; }

 private:
  // Reads more into buffer_; false at the end.
  absl::StatusOr<bool> Fill();

  // False when it is to stop.
  bool WaitForInput() const;

  const rpc::UniqueFd file_;
  const std::string name_;
  const std::size_t max_bytes_;
  const int stop_;
  std::string buffer_;
  std::size_t begin_ = 0;  // What is before it was handed out.
  bool at_end_ = false;
  std::uint64_t position_ = 0;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_LINE_READER_H_

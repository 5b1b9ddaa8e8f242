#include "node/cli/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {

absl::StatusOr<bool> LineReader::Next(Line& line) {
  line = Line();
  while (true) {
    const std::size_t end = buffer_.find('\n', begin_);
    const bool has_newline = end != std::string::npos;
    const std::size_t size = (has_newline ? end : buffer_.size()) - begin_;
    const std::size_t room = max_bytes_ - line.text.size();
    line.is_cut = line.is_cut || size > room;
    line.text.append(buffer_, begin_, std::min(size, room));
    begin_ += size + (has_newline ? 1 : 0);
    if (has_newline) return true;
    TANDEM_ASSIGN_OR_RETURN(const bool has_more, Fill());
    if (has_more) continue;
    // What came of a line before it was to stop is no line.
    return at_end_ && (!line.text.empty() || line.is_cut);
  }
}

absl::StatusOr<bool> LineReader::Fill() {
  constexpr std::size_t kChunkBytes = 64 << 10;
  if (at_end_ || !WaitForInput()) return false;
  buffer_.resize(kChunkBytes);
  begin_ = 0;
  ssize_t got;
  do {
    got = ::read(file_.get(), buffer_.data(), buffer_.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    buffer_.clear();
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", name_));
  }
  buffer_.resize(static_cast<std::size_t>(got));
  position_ += static_cast<std::uint64_t>(got);
  at_end_ = got == 0;
  return !at_end_;
}

bool LineReader::WaitForInput() const {
  pollfd fds[] = {{.fd = stop_, .events = POLLIN, .revents = 0},
                  {.fd = file_.get(), .events = POLLIN, .revents = 0}};
  while (::poll(fds, 2, -1) < 0) {
  }
  return fds[0].revents == 0;
}

bool LineReader::WouldWait() const {
  if (at_end_ || buffer_.find('\n', begin_) != std::string::npos) return false;
  pollfd input{.fd = file_.get(), .events = POLLIN, .revents = 0};
  return ::poll(&input, 1, 0) == 0;
}

}  // namespace tandem::node

// A line on a terminal that shows how far something is.

#ifndef TANDEM_NODE_CLI_PROGRESS_H_
#define TANDEM_NODE_CLI_PROGRESS_H_

#include <cstdint>
#include <string_view>

#include "absl/time/time.h"

namespace tandem::node {

// Draws on standard error if that is a terminal, else does nothing. The
// destructor removes what was drawn.
//
// Thread safety: thread-compatible.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Shows that `done` of `total` is done; a total of 0 is not known. Draws ten
  // times a second at most, so it may be called often.
  void Show(std::uint64_t done, std::uint64_t total, std::string_view text);

  // Removes what was drawn, to write something else.
  void Clear();

 private:
  const bool on_terminal_;
  bool is_drawn_ = false;
  absl::Time next_ = absl::InfinitePast();
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_PROGRESS_H_

#include "node/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace tandem::node {
namespace {

constexpr int kWidth = 30;

std::string Bar(std::uint64_t done, std::uint64_t total) {
  if (total == 0) return "";
  const double share =
      std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const int filled = static_cast<int>(share * kWidth);
  return absl::StrFormat("[%s%s] %3d%%  ", std::string(filled, '#'),
                         std::string(kWidth - filled, '-'),
                         static_cast<int>(share * 100));
}

}  // namespace

Progress::Progress() : on_terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { Clear(); }

void Progress::Show(std::uint64_t done, std::uint64_t total,
                    std::string_view text) {
  if (!on_terminal_ || absl::Now() < next_) return;
  next_ = absl::Now() + absl::Milliseconds(100);
  is_drawn_ = true;
  absl::FPrintF(stderr, "\r%s%s\x1b[K", Bar(done, total), std::string(text));
}

void Progress::Clear() {
  if (is_drawn_) std::fputs("\r\x1b[K", stderr);
  is_drawn_ = false;
}

}  // namespace tandem::node

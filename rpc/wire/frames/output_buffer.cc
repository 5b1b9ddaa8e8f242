#include "rpc/wire/frames/output_buffer.h"

#include <algorithm>
#include <utility>

namespace tandem::rpc {
namespace {

constexpr std::size_t kFirst = 4 << 10;
// What an empty buffer keeps; and where that much was needed last: memory that
// is given back to the kernel comes back slowly.
constexpr std::size_t kMostKept = 256 << 10;
constexpr std::size_t kMostKeptForMore = 2 << 20;

}  // namespace

void OutputBuffer::Clear() {
  const std::size_t used = std::exchange(end_, 0);
  begin_ = 0;
  if (capacity_ <= (used > kMostKept ? kMostKeptForMore : kMostKept)) return;
  memory_.reset();
  capacity_ = 0;
}

void OutputBuffer::Grow(std::size_t bytes) {
  const std::size_t unsent_bytes = size();
  const std::size_t needed = unsent_bytes + bytes;
  // What was consumed may be room enough.
  if (needed > capacity_ / 2) {
    const std::size_t capacity = std::max({needed, 2 * capacity_, kFirst});
    // Not zeroed.
    std::unique_ptr<char[]> memory(new char[capacity]);
    if (unsent_bytes > 0) {
      std::memcpy(memory.get(), memory_.get() + begin_, unsent_bytes);
    }
    memory_ = std::move(memory);
    capacity_ = capacity;
  } else if (unsent_bytes > 0) {
    std::memmove(memory_.get(), memory_.get() + begin_, unsent_bytes);
  }
  begin_ = 0;
  end_ = unsent_bytes;
}

}  // namespace tandem::rpc

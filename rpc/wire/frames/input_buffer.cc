#include "rpc/wire/frames/input_buffer.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace tandem::rpc {
namespace {

// More than a socket holds by default (net.core.wmem_default).
constexpr std::size_t kFirst = 256 << 10;
// As much of a frame is copied, so that it does not keep more.
constexpr std::size_t kLittle = 64 << 10;
// What an empty buffer keeps.
constexpr std::size_t kMostKept = 4 << 20;

}  // namespace

ssize_t InputBuffer::Receive(int fd, int flags) {
  MakeRoom();
  const ssize_t got = ::recv(fd, memory_.get() + end_, capacity_ - end_, flags);
  if (got <= 0) return got;
  const auto bytes = static_cast<std::size_t>(got);
  if (to_drop_ == 0) {
    end_ += bytes;
    return got;
  }
  // Nothing else is unread then.
  const std::size_t dropped = std::min(to_drop_, bytes);
  to_drop_ -= dropped;
  begin_ = end_ + dropped;
  end_ += bytes;
  return got;
}

void InputBuffer::MakeRoom() {
  const std::size_t size = end_ - begin_;
  if (size == 0) begin_ = end_ = 0;
  if (capacity_ == 0) return Allocate(kFirst);
  if (begin_ + std::max(expected_, size + 1) <= capacity_) return;
  if (size < capacity_) {
    std::memmove(memory_.get(), memory_.get() + begin_, size);
  } else {
    const std::size_t capacity =
        expected_ > size ? std::min(2 * capacity_, expected_) : 2 * capacity_;
    std::unique_ptr<char[]> memory(new char[capacity]);
    std::memcpy(memory.get(), memory_.get() + begin_, size);
    memory_ = std::move(memory);
    capacity_ = capacity;
  }
  begin_ = 0;
  end_ = size;
}

void InputBuffer::Borrow(InputBuffer& other) {
  if (capacity_ >= kFirst) return;
  if (other.capacity_ < kFirst) other.Allocate(kFirst);
  SwapMemory(other);
}

void InputBuffer::GiveBack(InputBuffer& other) {
  const std::size_t size = end_ - begin_;
  if (size > kLittle) return;
  other.Allocate(size);
  SwapMemory(other);
  if (other.capacity_ > kMostKept) other.Allocate(0);
}

void InputBuffer::Allocate(std::size_t bytes) {
  // Not zeroed.
  memory_.reset(bytes == 0 ? nullptr : new char[bytes]);
  capacity_ = bytes;
}

void InputBuffer::SwapMemory(InputBuffer& other) {
  const std::size_t size = end_ - begin_;
  if (size > 0) {
    std::memcpy(other.memory_.get(), memory_.get() + begin_, size);
  }
  memory_.swap(other.memory_);
  std::swap(capacity_, other.capacity_);
  begin_ = 0;
  end_ = size;
}

}  // namespace tandem::rpc

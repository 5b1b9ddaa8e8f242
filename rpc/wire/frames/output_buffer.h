// Bytes on their way to a socket.

#ifndef TANDEM_RPC_WIRE_FRAMES_OUTPUT_BUFFER_H_
#define TANDEM_RPC_WIRE_FRAMES_OUTPUT_BUFFER_H_

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace tandem::rpc {

// Grows at the end, is consumed from the front, and keeps its memory for what
// comes next, unless that is much.
//
// Thread safety: thread-compatible.
class OutputBuffer {
 public:
  OutputBuffer() = default;
  OutputBuffer(OutputBuffer&& other) noexcept { swap(other); }
  OutputBuffer& operator=(OutputBuffer&& other) noexcept {
    swap(other);
    return *this;
  }

  // `bytes` more at the end, for the caller to fill.
  char* Extend(std::size_t bytes) {
    if (bytes > capacity_ - end_) Grow(bytes);
    char* const place = memory_.get() + end_;
    end_ += bytes;
    return place;
  }
  void Append(std::string_view bytes) {
    if (!bytes.empty()) {
      std::memcpy(Extend(bytes.size()), bytes.data(), bytes.size());
    }
  }

  std::string_view unsent() const {
    return {memory_.get() + begin_, end_ - begin_};
  }
  std::size_t size() const { return end_ - begin_; }
  bool is_empty() const { return begin_ == end_; }

  // Drops as many from the front.
  void Consume(std::size_t bytes) {
    begin_ += bytes;
    if (begin_ == end_) Clear();
  }
  void Clear();

  void swap(OutputBuffer& other) noexcept {
    memory_.swap(other.memory_);
    std::swap(capacity_, other.capacity_);
    std::swap(begin_, other.begin_);
    std::swap(end_, other.end_);
  }

 private:
  void Grow(std::size_t bytes);

  std::unique_ptr<char[]> memory_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_FRAMES_OUTPUT_BUFFER_H_

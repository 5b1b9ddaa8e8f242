// Bytes that have come from a socket.

#ifndef TANDEM_RPC_WIRE_FRAMES_INPUT_BUFFER_H_
#define TANDEM_RPC_WIRE_FRAMES_INPUT_BUFFER_H_

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

namespace tandem::rpc {

// Reads many small frames, or a part of a large one, at once. Its memory grows
// with the bytes that came: what a frame only announces costs nothing.
//
// Thread safety: thread-compatible.
class InputBuffer {
 public:
  InputBuffer() = default;
  InputBuffer(InputBuffer&&) = delete;
  InputBuffer& operator=(InputBuffer&&) = delete;

  // Reads once, as much as there is room for. As recv(2): the number of bytes,
  // 0 at the end, -1 with errno.
  ssize_t Receive(int fd, int flags);

  // What has come and was not consumed. Until the next call of another method.
  std::string_view unread() const {
    return {memory_.get() + begin_, end_ - begin_};
  }
  // Also when what comes next was consumed in advance.
  bool is_empty() const { return begin_ == end_; }

  // Drops as many from the front: those that have not come yet as they come.
  void Consume(std::size_t bytes) {
    if (bytes <= end_ - begin_) {
      begin_ += bytes;
    } else {
      to_drop_ += bytes - (end_ - begin_);
      begin_ = end_ = 0;
    }
  }

  // What is unread is the beginning of a frame of `bytes` in all: until it has
  // come Receive() makes room for it, by and by.
  void Expect(std::size_t bytes) { expected_ = bytes; }

  std::size_t capacity() const { return capacity_; }

  // Has the memory of `other`, which is empty, and the other way around; what
  // is unread stays here. For who has many connections, and memory for each
  // only while it has something to read: Borrow() before Receive(), GiveBack()
  // after it. GiveBack() keeps the memory where much
  // is unread.
  void Borrow(InputBuffer& other);
  void GiveBack(InputBuffer& other);

 private:
  void MakeRoom();
  void Allocate(std::size_t bytes);
  void SwapMemory(InputBuffer& other);

  std::unique_ptr<char[]> memory_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t expected_ = 0;
  std::size_t to_drop_ = 0;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_FRAMES_INPUT_BUFFER_H_

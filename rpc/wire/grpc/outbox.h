// What a stream has yet to write.

#ifndef TANDEM_RPC_WIRE_GRPC_OUTBOX_H_
#define TANDEM_RPC_WIRE_GRPC_OUTBOX_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <deque>
#include <utility>

namespace tandem::rpc {

// The messages of one stream, of either side, on their way to gRPC, which
// writes one at a time.
//
// Thread safety: thread-compatible. gRPC reads the message that Next() gave it
// without a lock, until Written().
class Outbox {
 public:
  // Whether the other side reads too slowly for more. One message more than
  // this is taken, so that each message fits.
  bool is_full() const { return bytes_ >= kMaxBytes; }
  bool is_empty() const { return queue_.empty(); }

  void Push(grpc::ByteBuffer message) {
    bytes_ += RoomOf(message);
    queue_.push_back(std::move(message));
  }

  // The message to write now. Requires that there is one, and none is being
  // written.
  const grpc::ByteBuffer* Next() {
    writing_.Swap(&queue_.front());
    queue_.pop_front();
    return &writing_;
  }

  // gRPC has done with that message.
  void Written() {
    bytes_ -= RoomOf(writing_);
    writing_.Clear();
  }

  // Drops what is not being written.
  void Clear() {
    for (const grpc::ByteBuffer& message : queue_) bytes_ -= RoomOf(message);
    queue_.clear();
  }

 private:
  static constexpr std::size_t kMaxBytes = 256 << 10;

  // An empty message takes room as well.
  static std::size_t RoomOf(const grpc::ByteBuffer& message) {
    return message.Length() + 64;
  }

  std::deque<grpc::ByteBuffer> queue_;
  grpc::ByteBuffer writing_;
  std::size_t bytes_ = 0;  // Queued and being written.
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_OUTBOX_H_

// One side's end of a stream of messages, as every wire offers it.

#ifndef TANDEM_RPC_WIRE_STREAM_H_
#define TANDEM_RPC_WIRE_STREAM_H_

#include <functional>

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"

namespace tandem::rpc {

// Sends and receives messages, with a bounded buffer each way.
//
// Thread safety: thread-safe; one Receive at a time. Callbacks run once,
// without locks held, on any thread, maybe before the method returns.
class MessageStream {
 public:
  using Ready = std::function<void()>;
  using Received = std::function<void(bool has_message)>;

  virtual ~MessageStream() = default;

  // Queues a copy of `message`; never blocks. Errors: kResourceExhausted when
  // full (wait for OnWritable); kInvalidArgument when `message` is larger than
  // the peer takes; kCancelled when the stream is over.
  virtual absl::Status Send(const google::protobuf::MessageLite& message) = 0;

  // Runs `ready` when there is room, or when the stream is over.
  virtual void OnWritable(Ready ready) = 0;

  // Fills `into`, which lives until `done` ran; false: no more messages.
  virtual void Receive(google::protobuf::MessageLite* into, Received done) = 0;
};

// Receive() for threads that may block: returns what `done` is told.
bool ReceiveAndWait(MessageStream& stream, google::protobuf::MessageLite* into);

// Send() for threads that may block: waits for room. Errors: kCancelled when
// the stream is over; kInvalidArgument when `message` is too large.
absl::Status SendAndWait(MessageStream& stream,
                         const google::protobuf::MessageLite& message);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_STREAM_H_

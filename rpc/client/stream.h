// The client's end of calls that stream, typed: what generated clients return.

#ifndef TANDEM_RPC_CLIENT_STREAM_H_
#define TANDEM_RPC_CLIENT_STREAM_H_

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/client/transport.h"
#include "rpc/wire/stream.h"

namespace tandem::rpc {

// A call that is given up when it is dropped: the server's handler then sees it
// cancelled. Holds the stream for the typed classes below.
class StreamHandle {
 public:
  explicit StreamHandle(std::shared_ptr<ClientStream> stream)
      : stream_(std::move(stream)) {}
  StreamHandle(StreamHandle&&) noexcept = default;
  StreamHandle& operator=(StreamHandle&& other) noexcept {
    std::swap(stream_, other.stream_);
    return *this;
  }
  ~StreamHandle() {
    if (stream_) stream_->Cancel();
  }

  ClientStream* operator->() const { return stream_.get(); }
  ClientStream& operator*() const { return *stream_; }

 private:
  std::shared_ptr<ClientStream> stream_;
};

// Reads what the server streams. Dropped early, it cancels the call.
//
// Thread safety: thread-compatible; one Read at a time. Cancel() is
// thread-safe.
template <typename M>
class StreamReader {
 public:
  explicit StreamReader(std::shared_ptr<ClientStream> stream)
      : stream_(std::move(stream)) {}

  // Blocks for the next message. False: there are no more; status() says why.
  bool Read(M* into) { return ReceiveAndWait(*stream_, into); }
  // The same without blocking: fills `into`, which must live until `done` runs,
  // once, on any thread, maybe before this returns.
  void Read(M* into, std::function<void(bool has_message)> done) {
    stream_->Receive(into, std::move(done));
  }

  // How the call ended, once Read has said false.
  absl::Status status() const { return stream_->status(); }
  // Ends the call with kCancelled. Idempotent.
  void Cancel() { stream_->Cancel(); }

 private:
  StreamHandle stream_;
};

// Streams messages to the server, which answers once. Dropped early, it cancels
// the call.
//
// Thread safety: thread-compatible. Cancel() is thread-safe.
template <typename M, typename R>
class StreamWriter {
 public:
  explicit StreamWriter(std::shared_ptr<ClientStream> stream)
      : stream_(std::move(stream)) {}

  // Queues a message, waiting for room while the server reads slowly. Errors:
  // kCancelled when the call is over; Finish() says why.
  absl::Status Write(const M& message) {
    return SendAndWait(*stream_, message);
  }
  // The same, but never blocks. Errors: kResourceExhausted when there is no
  // room (nothing was queued: wait for OnWritable); kCancelled when the call is
  // over.
  absl::Status TryWrite(const M& message) { return stream_->Send(message); }
  // Runs `ready` once, when there is room or the call is over; maybe at once.
  void OnWritable(std::function<void()> ready) {
    stream_->OnWritable(std::move(ready));
  }

  // Says that there are no more messages, and blocks for the answer.
  absl::StatusOr<R> Finish() {
    stream_->CloseSend();
    absl::StatusOr<R> reply{R()};
    const bool has_reply = ReceiveAndWait(*stream_, &*reply);
    R ignored;
    while (ReceiveAndWait(*stream_, &ignored)) {
    }
    if (absl::Status status = stream_->status(); !status.ok()) return status;
    if (!has_reply) return absl::InternalError("the server sent no reply");
    return reply;
  }

  // Ends the call with kCancelled. Idempotent.
  void Cancel() { stream_->Cancel(); }

 private:
  StreamHandle stream_;
};

// Streams messages both ways. Dropped early, it cancels the call.
//
// Thread safety: one thread may write while another reads. Cancel() is
// thread-safe.
template <typename Out, typename In>
class StreamReaderWriter {
 public:
  explicit StreamReaderWriter(std::shared_ptr<ClientStream> stream)
      : stream_(std::move(stream)) {}

  // As in StreamWriter; status() says why the call is over.
  absl::Status Write(const Out& message) {
    return SendAndWait(*stream_, message);
  }
  absl::Status TryWrite(const Out& message) { return stream_->Send(message); }
  void OnWritable(std::function<void()> ready) {
    stream_->OnWritable(std::move(ready));
  }
  // Says that there are no more messages. Reading goes on.
  void WritesDone() { stream_->CloseSend(); }

  // As in StreamReader.
  bool Read(In* into) { return ReceiveAndWait(*stream_, into); }
  void Read(In* into, std::function<void(bool has_message)> done) {
    stream_->Receive(into, std::move(done));
  }
  absl::Status status() const { return stream_->status(); }
  void Cancel() { stream_->Cancel(); }

 private:
  StreamHandle stream_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_STREAM_H_

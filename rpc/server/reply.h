// How handlers answer: once (Reply), with a stream (Writer), while they read a
// stream (Reader). And what a wire implements for it: ServerCall, ServerStream.

#ifndef TANDEM_RPC_SERVER_REPLY_H_
#define TANDEM_RPC_SERVER_REPLY_H_

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"
#include "rpc/server/call.h"
#include "rpc/wire/stream.h"

namespace tandem::rpc {

// A unary call as a wire carries it. The wire owns it; it is gone, or recycled,
// once Finish() returns.
class ServerCall : public Call {
 public:
  // Lives until Finish().
  virtual const google::protobuf::MessageLite& request() const = 0;

  // Answers. Called exactly once, on any thread. `reply` is null unless
  // `status` is OK; its contents may be moved out.
  virtual void Finish(const absl::Status& status,
                      google::protobuf::MessageLite* reply) = 0;

 protected:
  using Call::Call;
  ~ServerCall() = default;
};

// A call with a stream in at least one direction, as a wire carries it. Lives
// as long as a Reader, Writer or Reply holds it, and the wire needs it.
class ServerStream : public Call, public MessageStream {
 public:
  // Receive() for handlers that may block: returns what `done` is told. A wire
  // may end a call whose client sends nothing for long.
  virtual bool ReceiveAndWait(google::protobuf::MessageLite* into) {
    return rpc::ReceiveAndWait(*this, into);
  }

  // Ends the call; later Sends answer kCancelled. `last` is the reply of a
  // client stream, else null. Only the first call counts.
  virtual void Finish(const absl::Status& status,
                      const google::protobuf::MessageLite* last) = 0;

 protected:
  using Call::Call;
};

// Answers one call, once, from any thread, now or later. Dropped unanswered, it
// answers kInternal. Keeps the Call alive.
//
// Thread safety: thread-compatible; movable between threads.
template <typename R>
class Reply {
 public:
  explicit Reply(ServerCall* call) : call_(call) {}
  explicit Reply(std::shared_ptr<ServerStream> stream)
      : stream_(std::move(stream)) {}
  Reply(Reply&& other) noexcept
      : call_(std::exchange(other.call_, nullptr)),
        stream_(std::move(other.stream_)) {}
  Reply& operator=(Reply&& other) noexcept {
    std::swap(call_, other.call_);
    std::swap(stream_, other.stream_);
    return *this;
  }
  ~Reply() {
    Answer(absl::InternalError("the handler dropped the call unanswered"),
           nullptr);
  }

  // Answers with a message or an error. Later calls do nothing.
  void Send(absl::StatusOr<R> reply) {
    if (reply.ok()) {
      Answer(absl::OkStatus(), &*reply);
    } else {
      Answer(reply.status(), nullptr);
    }
  }

 private:
  void Answer(const absl::Status& status, R* reply) {
    if (ServerCall* call = std::exchange(call_, nullptr)) {
      call->Finish(status, reply);
    }
    if (auto stream = std::exchange(stream_, nullptr)) {
      stream->Finish(status, reply);
    }
  }

  // One of the two, until answered.
  ServerCall* call_ = nullptr;
  std::shared_ptr<ServerStream> stream_;
};

// Sends a stream of messages to one client. Keeps the Call alive, may outlive
// the method that was given it; dropped without Finish(), it ends the stream
// with kInternal.
//
// Thread safety: Write() and OnWritable() are thread-safe.
template <typename M>
class Writer {
 public:
  explicit Writer(std::shared_ptr<ServerStream> stream)
      : stream_(std::move(stream)) {}
  Writer(Writer&&) noexcept = default;
  Writer& operator=(Writer&& other) noexcept {
    std::swap(stream_, other.stream_);
    return *this;
  }
  ~Writer() {
    Finish(absl::InternalError("the handler dropped the stream unfinished"));
  }

  // Queues a message; never blocks. Errors: kResourceExhausted when the client
  // reads too slowly (nothing was queued: wait for OnWritable); kCancelled when
  // nobody listens any more.
  absl::Status Write(const M& message) {
    if (!stream_) return absl::CancelledError("the stream is finished");
    return stream_->Send(message);
  }

  // Runs `ready` once: when Write has room again or nobody listens any more;
  // at once, on this thread, if that is so now.
  void OnWritable(std::function<void()> ready) {
    if (stream_) return stream_->OnWritable(std::move(ready));
    ready();
  }

  // Ends the stream after what has been written. Later calls do nothing.
  void Finish(const absl::Status& status) {
    if (auto stream = std::exchange(stream_, nullptr)) {
      stream->Finish(status, nullptr);
    }
  }

 private:
  std::shared_ptr<ServerStream> stream_;
};

// Reads the messages that a client streams. Keeps the Call alive.
//
// Thread safety: thread-compatible; one Read at a time.
template <typename M>
class Reader {
 public:
  explicit Reader(std::shared_ptr<ServerStream> stream)
      : stream_(std::move(stream)) {}
  Reader(Reader&&) noexcept = default;
  Reader& operator=(Reader&&) noexcept = default;

  // Reads the next message into `into`, which must live until `done` runs.
  // done(true): there was one; done(false): the client sends no more, or left.
  // Call::is_cancelled() tells the two apart, but may turn true only a moment
  // later: what must not be done by halves needs a last message that says so.
  // Runs once, on any thread, maybe before Read returns; must not block.
  void Read(M* into, std::function<void(bool)> done) {
    stream_->Receive(into, std::move(done));
  }

  // Blocks; for handlers that run on the pool. A client that lets it wait for
  // longer than ServerOptions::read_timeout has left: the call is cancelled.
  bool Read(M* into) { return stream_->ReceiveAndWait(into); }

 private:
  std::shared_ptr<ServerStream> stream_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_REPLY_H_

// A server's connection that carries frames.

#ifndef TANDEM_RPC_WIRE_FRAMES_FRAMED_CONNECTION_H_
#define TANDEM_RPC_WIRE_FRAMES_FRAMED_CONNECTION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "rpc/base/mutex.h"
#include "rpc/base/unique_fd.h"
#include "rpc/server/server_connection.h"
#include "rpc/wire/frames/batch_writer.h"
#include "rpc/wire/frames/input_buffer.h"
#include "rpc/wire/frames/poller.h"

namespace tandem::rpc {

// What every wire of frames needs of a connection, whatever the frames are:
// reads what has come in one go, has it taken frame by frame, and sends what
// that led to in one go. While the client does not read what it is sent, it is
// not read from either; a client that lets it wait for longer than the server's
// write_timeout is told of by Stalled(), and loses the connection after as long
// again.
//
// Lifecycle: shared by its PollThread, until the connection has ended, and by
// whoever has something to say on it later; what is said then is dropped.
//
// Thread safety: Write(), WhenRoom(), unsent() and End() are thread-safe. The
// rest belongs to its PollThread.
class FramedConnection : public PollSource,
                         public ServerConnection::Wait,
                         public std::enable_shared_from_this<FramedConnection> {
 public:
  // `socket` does not block. `batch`: how what is written by the thread is
  // ordered with what others write.
  FramedConnection(UniqueFd socket,
                   std::shared_ptr<ServerConnection> connection,
                   PollThread& thread,
                   BatchWriter::Batch batch = BatchWriter::Batch::kApart);
  ~FramedConnection() override;

  // Begins to read. Errors: those of PollThread::Add().
  absl::Status Begin();

  // Has the connection end soon: takes no more frames, and closes once what was
  // written is sent. Ended() tells when. Idempotent.
  void End();
  // The same, but drops what is not sent.
  void EndNow();

  ServerConnection& connection() const { return *connection_; }
  const std::shared_ptr<ServerConnection>& shared_connection() const {
    return connection_;
  }
  PollThread& thread() const { return thread_; }

 protected:
  // Takes the frame that `unread` begins with, and returns how many bytes it
  // has: more than there are where the rest is to be dropped as it comes. When
  // it is not all there, returns 0 and sets `needed` to what it has in all, as
  // far as that is known.
  virtual std::size_t TakeFrame(std::string_view unread,
                                std::size_t* needed) = 0;
  // Whether there is enough to do: until TakeMore() no frame is taken, and
  // nothing read. Asked before each frame.
  virtual bool HasEnough() { return false; }
  // All that had come was taken. What is written in TakeFrame() and here is
  // sent together afterwards.
  virtual void EndBatch() {}
  // There is no room in the server's memory for requests for what has come of
  // the frame that `unread` begins with: returns how many bytes that has, which
  // are dropped, after saying so; or 0: then the connection ends.
  virtual std::size_t RefuseFrame(std::string_view unread) = 0;
  // The client has let us wait for longer than write_timeout.
  virtual void Stalled() = 0;
  // The connection is over: nothing more is read, and nothing sent.
  virtual void Ended() = 0;
  void OnTime() override {}

  // Has `append(OutputBuffer&)` add what is to be sent. Holds no lock of the
  // caller's: callbacks of WhenRoom() may run.
  template <typename Append>
  void Write(Append append) {
    if (writer_.Write(std::move(append)) == BatchWriter::Room::kResume) {
      AwaitRoom();
    }
  }
  // The same, in the order of all that is written by this method: for what is
  // written from several threads.
  template <typename Append>
  void WriteInOrder(Append append) {
    if (writer_.WriteInOrder(std::move(append)) == BatchWriter::Room::kResume) {
      AwaitRoom();
    }
  }
  // Has the thread go on where HasEnough() was true. Any thread.
  void TakeMore();
  // Between them, on any thread, what that writes is gathered and sent in one
  // go. For kInOrder alone.
  void BeginWrites() { writer_.BeginBatch(); }
  void EndWrites() {
    if (writer_.EndBatch() == BatchWriter::Room::kResume) AwaitRoom();
  }
  bool is_full() const { return writer_.is_full(); }
  std::size_t unsent() const { return writer_.unsent(); }
  // As BatchWriter's.
  void WhenRoom(BatchWriter::Ready ready) {
    writer_.WhenRoom(std::move(ready));
  }

 private:
  void OnReady(std::uint32_t events) final;
  // False at the end of the connection.
  bool Read();
  void TakeFrames();
  // Takes what was left, if nothing holds that up any more.
  void GoOn();
  bool HoldMemory();
  void ReleaseMemory();
  void AwaitRoom() ABSL_LOCKS_EXCLUDED(mu_);
  void Resume() ABSL_LOCKS_EXCLUDED(mu_);
  void CloseIfSent();
  void ForgetWait() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Watch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // False where that is so already.
  bool SetReads(bool reads) ABSL_LOCKS_EXCLUDED(mu_);
  void Close() ABSL_LOCKS_EXCLUDED(mu_);
  // Of ServerConnection::Wait; with its lock held.
  void EndStalled() override;

  const std::shared_ptr<ServerConnection> connection_;
  PollThread& thread_;
  UniqueFd socket_;
  BatchWriter writer_;
  std::atomic<bool> is_ending_{false};

  // Of the PollThread.
  InputBuffer input_;
  // GoOn() comes once the client has read some of what it was sent.
  bool awaits_drain_ = false;
  bool ends_when_sent_ = false;
  // A frame has come in part, and its memory is held.
  bool is_partial_ = false;
  std::size_t held_memory_ = 0;
  bool is_over_ = false;

  // Before the connection's.
  Mutex mu_;
  bool is_closed_ ABSL_GUARDED_BY(mu_) = false;
  bool reads_ ABSL_GUARDED_BY(mu_) = true;
  bool awaits_room_ ABSL_GUARDED_BY(mu_) = false;
  // It is shown to the connection that the client lets us wait: until the
  // kernel has taken as many bytes since the beginning.
  bool is_waiting_ ABSL_GUARDED_BY(mu_) = false;
  std::uint64_t awaited_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_FRAMES_FRAMED_CONNECTION_H_

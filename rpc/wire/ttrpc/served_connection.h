// The server's end of a ttrpc connection.

#ifndef TANDEM_RPC_WIRE_TTRPC_SERVED_CONNECTION_H_
#define TANDEM_RPC_WIRE_TTRPC_SERVED_CONNECTION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/wire/frames/framed_connection.h"
#include "rpc/wire/ttrpc/frame.h"
#include "rpc/wire/ttrpc/method_table.h"
#include "rpc/wire/ttrpc/server_end.h"
#include "rpc/wire/ttrpc/unary_call.h"
#include "tandem/rpc/v1/session.pb.h"

namespace tandem::rpc::ttrpc {

// Begins calls for the Requests that come, and carries what belongs to them.
//
// Errors that it answers itself: those of CallGuard; kUnimplemented (no such
// method); kInvalidArgument (a frame or message that is none, an id that was
// used); kResourceExhausted (too large, or too much of it); kUnavailable (the
// server is stopping).
//
// Ownership: as FramedConnection; calls and streams share it.
//
// Thread safety: what is for calls and streams is thread-safe, as are the first
// three methods; the rest is of the connection's thread.
class ServedConnection final : public FramedConnection {
 public:
  // `ended` runs once, on the connection's thread, when it is over and all its
  // unary calls are answered: until then their handlers need the server.
  ServedConnection(UniqueFd socket,
                   std::shared_ptr<ServerConnection> connection,
                   PollThread& thread, std::shared_ptr<MethodTable> table,
                   std::function<void()> ended);
  ~ServedConnection() override;

  // No call begins any more: it ends once it has none.
  void EndWhenIdle();
  // Cancels all calls; streams end with `why`.
  void CancelAll(const absl::Status& why);

  const MethodTable& table() const { return *table_; }

  // For calls.

  // Answers, and counts what cannot be sent.
  void Answer(const UnaryCall& call, const absl::Status& status,
              google::protobuf::MessageLite* reply);
  // `call` has been answered: it may be used again.
  void TakeBack(UnaryCall& call);
  // Counts a request or message of `bytes`, before it is parsed into `into`.
  // Errors: those for which the call must end.
  absl::Status CountRequest(const Target& target, ActiveCall& active,
                            std::size_t bytes,
                            const google::protobuf::MessageLite& into);
  // Counts a message that there is no memory for; returns what to say.
  absl::Status RefuseForMemory(const Target& target, std::size_t bytes);
  // Has the pool run `job`, and counts where it has no room.
  absl::Status Submit(WorkerPool& pool, Job& job);

  // For streams, which have no lock of theirs held.

  // Errors: kResourceExhausted, counted, when a reply of `bytes` is more than
  // may be sent; kInvalidArgument, for a message.
  absl::Status CheckReply(const Target& target, std::size_t bytes,
                          const google::protobuf::MessageLite& reply);
  absl::Status CheckMessage(const Target& target, std::size_t bytes,
                            const google::protobuf::MessageLite& message);
  using FramedConnection::is_full;
  void WriteStream(const OutputBuffer& frames);
  void WriteGrant(std::uint32_t id, std::uint32_t messages);
  void WriteError(std::uint32_t id, const absl::Status& error);
  // Has OnRoom() called.
  void AwaitRoom(std::weak_ptr<ServerEnd> stream);
  // Has `count` run and then the stream end with `why`, on the connection's
  // thread, unless the connection is over by then. Any lock may be held.
  void EndSoon(std::shared_ptr<ServerEnd> stream,
               void (*count)(ServedConnection&, const Target&),
               absl::Status why);
  // The stream is over.
  void Forget(std::uint32_t id) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  std::size_t TakeFrame(std::string_view unread, std::size_t* needed) override;
  void EndBatch() override;
  std::size_t RefuseFrame(std::string_view unread) override;
  void Stalled() override;
  void Ended() override;
  void OnTime() override;

  // Answers a frame that is dropped, of which this is the beginning. `why` is
  // of the method that it is for.
  void RefuseFrame(const FrameHeader& header, std::string_view beginning,
                   const std::function<absl::Status(const Target&)>& why);
  void OnRequest(const FrameHeader& header, std::string_view data);
  void BeginUnary(const Target& target, ActiveCall active, std::uint32_t id);
  void SubmitQueued();
  // Counts where the pool had no room.
  absl::Status CountBusy(absl::Status submitted);
  void BeginStream(const Target& target, ActiveCall active,
                   const FrameHeader& header);
  void OnData(const FrameHeader& header, std::string_view data);
  void OnCredit(const FrameHeader& header, std::string_view data);
  void Cancel(std::uint32_t id);
  // False, and answered, when no call may begin with that id.
  bool TakeId(std::uint32_t id);
  static absl::Status NoSuchMethod(const Request& request);
  const Target* Find(const Request& request);
  absl::Status Refuse(Refusal reason, absl::Status why);
  // Counts a call with too much of it; returns what to say.
  absl::Status RefuseMetadata(const Target& target, std::size_t bytes);

  // What the client offers in Hello is taken up, and the client told so.
  void Agree(const v1::HelloRequest& hello);
  void TakeUp(const v1::HelloRequest& hello, v1::HelloReply& reply) const;

  absl::Time DeadlineOf(const Request& request);
  void WatchDeadline(absl::Time deadline);
  UnaryCall* TakeSpare(const Target& target, ActiveCall active);
  void Recycle(UnaryCall* call);
  void RecycleReturned();
  // Of a connection that is over: once all calls are answered, `ended`. After
  // that the server may be gone.
  void LeaveSoon() ABSL_LOCKS_EXCLUDED(mu_);
  void LeaveIfDone() ABSL_LOCKS_EXCLUDED(mu_);
  void EndIfIdle();
  // What a reply may have, at most.
  std::size_t max_reply_bytes() const;

  std::shared_ptr<ServerEnd> FindStream(std::uint32_t id) const
      ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<std::shared_ptr<ServerEnd>> Streams() const
      ABSL_LOCKS_EXCLUDED(mu_);
  // Of calls_; callbacks of one may end others.
  std::vector<std::uint32_t> CallIds() const;
  void CancelCalls();
  std::shared_ptr<ServedConnection> SharedSelf() {
    return std::static_pointer_cast<ServedConnection>(shared_from_this());
  }

  const std::shared_ptr<MethodTable> table_;
  const std::function<void()> ended_;

  // Of the connection's thread.
  std::uint32_t last_id_ = 0;
  std::size_t max_data_;
  bool can_cancel_ = false;
  bool has_credit_ = false;
  Request request_;  // The one that is being looked at.
  const Target* last_target_ = nullptr;
  // Of this batch; unset: nobody has asked yet.
  absl::Time now_ = absl::InfinitePast();
  absl::Time next_deadline_ = absl::InfiniteFuture();
  // Unary calls that this thread has not seen answered.
  absl::flat_hash_map<std::uint32_t, UnaryCall*> calls_;
  // Of this batch, for the pool; all are UnaryCalls.
  std::vector<Job*> queued_;
  // The one whose inline method runs, until it is answered.
  const UnaryCall* inline_ = nullptr;
  struct Spares {
    UnaryCall* first = nullptr;
    int count = 0;
  };
  std::vector<Spares> spares_;  // By Target::index.

  // 0: what fits into a plain frame.
  std::atomic<std::size_t> client_takes_{0};
  // Answered by other threads.
  std::atomic<UnaryCall*> returned_{nullptr};
  // It is over.
  std::atomic<bool> awaits_calls_{false};

  mutable Mutex mu_;
  bool is_over_ ABSL_GUARDED_BY(mu_) = false;
  bool has_left_ ABSL_GUARDED_BY(mu_) = false;
  absl::flat_hash_map<std::uint32_t, std::shared_ptr<ServerEnd>> streams_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc::ttrpc

#endif  // TANDEM_RPC_WIRE_TTRPC_SERVED_CONNECTION_H_

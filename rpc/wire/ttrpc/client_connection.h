// The client's end of a ttrpc connection.

#ifndef TANDEM_RPC_WIRE_TTRPC_CLIENT_CONNECTION_H_
#define TANDEM_RPC_WIRE_TTRPC_CLIENT_CONNECTION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/message_lite.h"
#include "rpc/base/mutex.h"
#include "rpc/base/unique_fd.h"
#include "rpc/client/call.h"
#include "rpc/client/server_view.h"
#include "rpc/client/transport.h"
#include "rpc/wire/frames/batch_writer.h"
#include "rpc/wire/frames/input_buffer.h"
#include "rpc/wire/ttrpc/frame.h"
#include "tandem/rpc/v1/session.pb.h"

namespace tandem::rpc::ttrpc {

struct ClientOptions {
  // What errors call the server, such as "unix:/run/kv/kv.sock".
  std::string peer;
  // Larger requests, replies and stream messages fail with kResourceExhausted.
  std::size_t max_message_bytes = 64 << 20;
  // How long who reads asks the socket over and over before it sleeps: an
  // answer within that time comes without a wake-up, at the price of a busy
  // core meanwhile. For programs that have cores to spare.
  absl::Duration spin = absl::ZeroDuration();
};

class ClientEnd;

// Who reads from the socket. One thread at a time has the turn: a blocked
// caller, who so gets its answer without another thread's help, or the thread
// of the connection, which has it whenever answers are due to callbacks or
// streams. Callbacks run on the thread of the connection only, so that a caller
// may hold locks while it blocks; where a caller meets such an answer it leaves
// it, and the turn, to the thread. A callback may block for a call over the
// same connection: then the thread reads on for it, and puts aside what is for
// others.
//
// Deadlines: blocked callers look at their own; the thread looks at the others,
// to the millisecond.
//
// Ownership: shared by the transport, its thread, the streams, and the callers
// who wait. Thread safety: thread-safe.
class ClientConnection final
    : public BlockingCall::Place,
      public std::enable_shared_from_this<ClientConnection> {
 public:
  // `socket` blocks; `wake` is an eventfd(2) that does not.
  ClientConnection(UniqueFd socket, UniqueFd wake, ClientOptions options);

  // The thread of the connection: returns once it is over.
  void Run() ABSL_LOCKS_EXCLUDED(mu_);

  // As in Transport and ConnectionTransport.
  void Start(ClientCall* call, const google::protobuf::MessageLite& request,
             const CallOptions& options) ABSL_LOCKS_EXCLUDED(mu_);
  std::shared_ptr<ClientStream> Open(
      const Method& method, const google::protobuf::MessageLite* request,
      const CallOptions& options) ABSL_LOCKS_EXCLUDED(mu_);
  bool is_over() const;
  bool WaitOver(absl::Duration timeout) const;
  bool is_refused() const { return is_refused_; }
  bool has_calls() const ABSL_LOCKS_EXCLUDED(mu_);
  void Close() ABSL_LOCKS_EXCLUDED(mu_);
  void Offer(v1::HelloRequest& hello) ABSL_LOCKS_EXCLUDED(mu_);
  void set_hello(const absl::StatusOr<v1::HelloReply>& hello)
      ABSL_LOCKS_EXCLUDED(mu_);

  void Wait(BlockingCall& call, std::uint32_t id, absl::Time deadline) override
      ABSL_LOCKS_EXCLUDED(mu_);

  // For streams.

  // What a message to be sent may have at most, and what one that comes may.
  std::size_t max_sent_bytes() const { return max_sent_bytes_; }
  std::size_t max_message_bytes() const { return options_.max_message_bytes; }
  // Whether messages are, or may turn out to be, sent against credit.
  bool counts_credit() const { return credit_ != Extension::kNone; }
  // Whether the server knows what a Credit frame is.
  bool may_grant() const { return credit_ == Extension::kAgreed; }
  // Whether the server reads too slowly for more.
  bool is_full() const { return writer_.is_full(); }
  // Runs `ready` on the connection's thread once it is not.
  void WhenRoom(std::function<void()> ready);
  // Writes what `append(OutputBuffer&)` adds.
  template <typename Append>
  void Write(Append append) ABSL_LOCKS_EXCLUDED(mu_) {
    if (writer_.Write(append) == BatchWriter::Room::kResume) ResumeSoon();
  }
  // The stream has ended with `status`, whatever the server thinks.
  void GiveUp(std::uint32_t id, const absl::Status& status)
      ABSL_LOCKS_EXCLUDED(mu_);
  // What a call ends with that the server answered with an error.
  absl::Status Explain(const Method& method, absl::Status status,
                       absl::Time deadline, absl::Duration timeout);

 private:
  enum class Turn : std::uint8_t { kNobody, kCaller, kThread };
  // Who meets a frame.
  enum class Reader : std::uint8_t {
    kCaller,    // Leaves what is for callbacks and streams.
    kThread,    // Takes everything.
    kCallback,  // The same thread, within a callback: puts that aside.
  };
  // What Hello may agree on (TtrpcExtensions).
  enum class Extension : std::uint8_t {
    kNone,
    kOffered,  // The answer is on its way.
    kAgreed,
  };

  // A call without an answer yet.
  struct Pending {
    ClientCall* call = nullptr;         // Of a unary call.
    std::shared_ptr<ClientEnd> stream;  // Else.
    const Method* method = nullptr;
    absl::Time deadline;
    absl::Duration timeout;
    // Its caller waits for it here, and looks at the deadline.
    bool is_blocking = false;
    std::optional<Cancellation> cancellation;
    std::uint64_t cancellation_key = 0;
  };
  using PendingCalls = absl::flat_hash_map<std::uint32_t, Pending>;

  // Why a call cannot begin, or OK.
  absl::Status CheckStart(const Method& method,
                          const google::protobuf::MessageLite* request,
                          const CallOptions& options) const;
  // Sends the request of `pending`; its id, or 0 when the connection is over.
  std::uint32_t Begin(Pending pending, std::uint8_t flags,
                      const google::protobuf::MessageLite* request,
                      const CallOptions& options) ABSL_LOCKS_EXCLUDED(mu_);
  std::uint32_t Add(Pending& pending) ABSL_LOCKS_EXCLUDED(mu_);
  void WatchCancellation(std::uint32_t id,
                         const std::optional<Cancellation>& cancellation)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Takes a call out, for who will end it: then nobody else will.
  std::optional<Pending> Take(std::uint32_t id) ABSL_LOCKS_EXCLUDED(mu_);
  Pending Extract(PendingCalls::iterator it) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Ends a call that was taken out. `can_be_read`: what a stream has of
  // messages.
  void End(Pending pending, absl::Status status, bool can_be_read);
  // Tells the server that nobody waits any more.
  void SendCancel(std::uint32_t id, bool is_half_open) ABSL_LOCKS_EXCLUDED(mu_);

  // The turn.
  bool Claim(BlockingCall& call) ABSL_LOCKS_EXCLUDED(mu_);
  bool AwaitTurn(BlockingCall& call, absl::Time deadline)
      ABSL_LOCKS_EXCLUDED(mu_);
  void PassTurn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveTurn(BlockingCall& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void List(BlockingCall& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Unlist(BlockingCall& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Who has taken the call out of calls_ ends it: it needs no turn any more.
  void SetTaken(BlockingCall& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WakeThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool is_on_thread() const {
    return std::this_thread::get_id() ==
           thread_id_.load(std::memory_order_relaxed);
  }

  // Of who has the turn.

  // Reads for `call` until it is over, or something is not for `reader`, or
  // `deadline`, or the end.
  void ReadFor(const BlockingCall& call, absl::Time deadline, Reader reader)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Goes through the frames that have come. False: the next is not for
  // `reader`, or what comes is no ttrpc.
  bool HandleBatch(Reader reader) ABSL_LOCKS_EXCLUDED(mu_);
  bool HandleFrames(Reader reader) ABSL_LOCKS_EXCLUDED(mu_);
  bool IsForThread(std::uint32_t id) const ABSL_LOCKS_EXCLUDED(mu_);
  bool IsOversize(const FrameHeader& header) const;
  void HandleFrame(const FrameHeader& header, std::string_view data)
      ABSL_LOCKS_EXCLUDED(mu_);
  void HandleResponse(std::uint32_t id, std::string_view data)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The status of an answer; a unary call's reply is filled in.
  absl::Status Answer(const Pending& pending, std::string_view data);
  void HandleData(const FrameHeader& header, std::string_view data)
      ABSL_LOCKS_EXCLUDED(mu_);
  // A frame that is larger than its message may be, and was dropped.
  void HandleOversize(const FrameHeader& header) ABSL_LOCKS_EXCLUDED(mu_);
  std::shared_ptr<ClientEnd> FindStream(std::uint32_t id) const
      ABSL_LOCKS_EXCLUDED(mu_);
  // Reads once, blocking for at most until `deadline`. False at the end.
  bool ReceiveUntil(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_);
  // As recv(2) that does not block, but tries for a while.
  ssize_t TryReceive();
  // Whether what recv(2) returned was the end: then this is over.
  bool IsEnd(ssize_t received) ABSL_LOCKS_EXCLUDED(mu_);

  // Nothing more comes, because of `why`.
  void SetOver(std::string_view why) ABSL_LOCKS_EXCLUDED(mu_);

  // Of the thread.

  struct Work {
    bool reads = false;
    bool resumes = false;
    absl::Time until;  // Then a deadline passes.
  };
  // Waits for something to do; none when this is over.
  std::optional<Work> AwaitWork() ABSL_LOCKS_EXCLUDED(mu_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const Work& work) ABSL_LOCKS_EXCLUDED(mu_);
  void HandleAsThread() ABSL_LOCKS_EXCLUDED(mu_);
  void Poll(const Work& work) ABSL_LOCKS_EXCLUDED(mu_);
  void ResumeSoon() ABSL_LOCKS_EXCLUDED(mu_);
  void RunSoon(std::function<void()> ready) ABSL_LOCKS_EXCLUDED(mu_);
  void RunDue() ABSL_LOCKS_EXCLUDED(mu_);
  void EndOverdue() ABSL_LOCKS_EXCLUDED(mu_);
  void EndAll() ABSL_LOCKS_EXCLUDED(mu_);

  const ClientOptions options_;
  const UniqueFd socket_;
  const UniqueFd wake_;

  // Own synchronization.
  ServerView server_;
  // Its lock comes before mu_: ids grow in the order of writes.
  BatchWriter writer_;
  std::atomic<bool> is_over_{false};
  // The kernel says so, though not everything may have been read.
  mutable std::atomic<bool> has_peer_left_{false};
  std::atomic<bool> is_refused_{false};
  std::atomic<Extension> cancel_{Extension::kNone};
  std::atomic<Extension> credit_{Extension::kNone};
  std::atomic<std::size_t> max_sent_bytes_;
  std::atomic<std::thread::id> thread_id_{};
  // Changes with mu_ held.
  std::atomic<Turn> turn_{Turn::kNobody};

  // Of who has the turn.
  InputBuffer in_;
  // What was put aside, header and data.
  std::deque<std::string> aside_;
  bool has_receive_timeout_ = false;

  mutable Mutex mu_;
  std::uint32_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  PendingCalls calls_ ABSL_GUARDED_BY(mu_);
  // Of those, the ones that the thread reads for. Changes with mu_ held.
  std::atomic<std::size_t> for_thread_{0};
  // No call that the thread looks at is overdue before.
  absl::Time next_deadline_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  // Callers who wait for their answer or the turn, behind each other.
  BlockingCall* last_waiting_ ABSL_GUARDED_BY(mu_) = nullptr;
  // The one of them that is the thread, within a callback.
  BlockingCall* waiting_thread_ ABSL_GUARDED_BY(mu_) = nullptr;
  // The thread sleeps in poll(2), not on mu_.
  bool is_polling_ ABSL_GUARDED_BY(mu_) = false;
  // The socket took no more: it is the thread's to go on.
  bool must_resume_ ABSL_GUARDED_BY(mu_) = false;
  // For the thread to run.
  std::vector<std::function<void()>> due_ ABSL_GUARDED_BY(mu_);
  bool has_ended_ ABSL_GUARDED_BY(mu_) = false;  // Nobody runs them any more.
  // Given up before the answer to Hello.
  std::vector<std::uint32_t> early_cancels_ ABSL_GUARDED_BY(mu_);
  // Why it is over.
  std::string why_over_ ABSL_GUARDED_BY(mu_);
  bool speaks_ttrpc_ ABSL_GUARDED_BY(mu_) = true;
};

}  // namespace tandem::rpc::ttrpc

#endif  // TANDEM_RPC_WIRE_TTRPC_CLIENT_CONNECTION_H_

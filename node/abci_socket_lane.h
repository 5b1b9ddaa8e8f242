// One connection to an application over the ABCI socket protocol.

#ifndef TANDEM_NODE_ABCI_SOCKET_LANE_H_
#define TANDEM_NODE_ABCI_SOCKET_LANE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/protobuf/message_lite.h"
#include "proto/abci/socket_call.h"
#include "proto/abci/socket_frame.h"
#include "rpc/base/mutex.h"
#include "rpc/base/unique_fd.h"
#include "rpc/client/cancellation.h"
#include "rpc/client/server_view.h"
#include "rpc/client/transport.h"
#include "rpc/wire/frames/batch_writer.h"
#include "rpc/wire/frames/input_buffer.h"
#include "rpc/wire/frames/poller.h"

namespace tandem::node {

// Asks, and is answered in the same order. Errors are those of
// OpenAbciSocketSession().
//
// Ownership: shared by the session, the thread that reads, and cancellations of
// calls in flight. Thread safety: thread-safe. Lock order: the writer's, then
// mu_.
class AbciSocketLane final
    : public rpc::PollSource,
      public std::enable_shared_from_this<AbciSocketLane> {
 public:
  struct Options {
    std::string peer;  // what errors call the application
    std::size_t max_message_bytes = 0;
    // Runs once the connection is over, without locks held, on any thread.
    std::function<void()> on_over;
  };

  // `connection` does not block. `thread` outlives this.
  AbciSocketLane(rpc::UniqueFd connection, rpc::PollThread& thread,
                 Options options);

  // Begins to read. Errors: kResourceExhausted.
  absl::Status Begin();

  // As rpc::Transport::Start(); `kind` is the call's.
  void Start(rpc::ClientCall* call, const abci::SocketCall& kind,
             const google::protobuf::MessageLite& request,
             const rpc::CallOptions& options) ABSL_LOCKS_EXCLUDED(mu_);

  // Ends the connection, and what is in flight with kUnavailable. Idempotent.
  void Close(std::string why) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // What was asked.
  struct Asked {
    const abci::SocketCall* kind = nullptr;
    // Null: nobody waits for the answer (any more).
    rpc::ClientCall* call = nullptr;
    absl::Duration timeout = absl::InfiniteDuration();
    absl::Time deadline = absl::InfiniteFuture();
    std::optional<rpc::Cancellation> cancellation = std::nullopt;
    std::uint64_t cancellation_key = 0;
  };

  // On the thread.
  void OnReady(std::uint32_t events) override;
  void OnTime() override ABSL_LOCKS_EXCLUDED(mu_);
  void Read();
  // An error: nothing on this connection makes sense any more.
  absl::Status AnswerAll();
  // Ends the call that was asked first.
  absl::Status Answer(const abci::SocketFrame& frame) ABSL_LOCKS_EXCLUDED(mu_);
  // Sets `end` to how it ends; the reply is in its place then. An error as of
  // AnswerAll().
  absl::Status EndOf(const Asked& asked, const abci::SocketFrame& frame,
                     absl::Status* end) const;
  absl::Status Nonsense(const rpc::Method& method,
                        const absl::Status& why) const;
  // What is in flight ends with `status_of(method)`.
  template <typename StatusOf>
  void CloseWith(StatusOf status_of) ABSL_LOCKS_EXCLUDED(mu_);

  void Ask(rpc::OutputBuffer& out, const Asked& asked,
           const google::protobuf::MessageLite& request, std::size_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Asks for a Flush when something was asked since the last one, and that one
  // was answered.
  void FlushIfNeeded(rpc::OutputBuffer& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ResumeIf(rpc::BatchWriter::Room room);

  // Of the call that was asked `number`-th; null once nobody waits for it.
  Asked* Waiting(std::uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CancelBy(rpc::Cancellation cancellation, std::uint64_t number)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Cancel(std::uint64_t number) ABSL_LOCKS_EXCLUDED(mu_);
  static void Finish(const Asked& asked, absl::Status status);

  const rpc::UniqueFd fd_;
  rpc::PollThread& thread_;
  const Options options_;
  rpc::ServerView server_;
  rpc::BatchWriter writer_;
  rpc::InputBuffer input_;  // the thread's

  rpc::Mutex mu_;
  bool is_over_ ABSL_GUARDED_BY(mu_) = false;
  // Oldest first; the first is the answered_-th.
  std::deque<Asked> asked_ ABSL_GUARDED_BY(mu_);
  std::uint64_t answered_ ABSL_GUARDED_BY(mu_) = 0;
  bool is_flushing_ ABSL_GUARDED_BY(mu_) = false;
  bool needs_flush_ ABSL_GUARDED_BY(mu_) = false;
  // When the thread will look for calls whose time is over.
  absl::Time looks_at_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_ABCI_SOCKET_LANE_H_

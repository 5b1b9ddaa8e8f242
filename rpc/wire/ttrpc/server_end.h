// The server's end of a stream over ttrpc.

#ifndef TANDEM_RPC_WIRE_TTRPC_SERVER_END_H_
#define TANDEM_RPC_WIRE_TTRPC_SERVER_END_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>
#include <vector>

#include "rpc/server/reply.h"
#include "rpc/server/server_connection.h"
#include "rpc/server/worker_pool.h"
#include "rpc/wire/frames/inbox.h"
#include "rpc/wire/frames/output_buffer.h"
#include "rpc/wire/ttrpc/frame.h"
#include "rpc/wire/ttrpc/method_table.h"

namespace tandem::rpc::ttrpc {

class ServedConnection;

// A call that streams, of any shape.
//
// Ownership: shared by the connection until the stream is over, by the Reader,
// Writer and Reply of the handler, and by the pool while it waits there. Keeps
// the connection.
//
// Thread safety: thread-safe. What is said to be for the connection is called
// on its thread.
class ServerEnd final : public ServerStream,
                        public Job,
                        public Inbox::Owner,
                        public ServerConnection::Wait,
                        public std::enable_shared_from_this<ServerEnd> {
 public:
  // Without `credit` messages are sent as they come.
  ServerEnd(const Target& target, ActiveCall active,
            std::shared_ptr<ServedConnection> connection, std::uint32_t id,
            bool has_credit);
  ~ServerEnd() override;

  absl::Status Send(const google::protobuf::MessageLite& message) override
      ABSL_LOCKS_EXCLUDED(mu_);
  void OnWritable(Ready ready) override ABSL_LOCKS_EXCLUDED(mu_);
  void Receive(google::protobuf::MessageLite* into, Received done) override {
    inbox_.Receive(into, std::move(done));
  }
  bool ReceiveAndWait(google::protobuf::MessageLite* into) override;
  void Finish(const absl::Status& status,
              const google::protobuf::MessageLite* last) override
      ABSL_LOCKS_EXCLUDED(mu_);

  // For the connection.

  // Has the handler run, with the request of a server stream.
  void Begin(const Request& request, absl::Time deadline);
  // A message has come.
  void Push(std::string_view bytes);
  // The client sends no more.
  void EndInput();
  bool is_input_over() const { return is_input_over_; }
  // The client takes as many messages more.
  void Grant(std::uint32_t messages) ABSL_LOCKS_EXCLUDED(mu_);
  // The client has gone, or given the call up.
  void Abandon() ABSL_LOCKS_EXCLUDED(mu_);
  // The call ends for `why`, of which the client is told. On any thread.
  void Fail(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mu_);
  // The connection may have room again. On any thread.
  void OnRoom() ABSL_LOCKS_EXCLUDED(mu_);

  const Target& target() const { return target_; }

 private:
  // A message that a handler is blocked for.
  class BlockedRead final : public ServerConnection::Wait {
   public:
    explicit BlockedRead(ServerEnd& end) : end_(end) {}
    void EndStalled() override;

   private:
    ServerEnd& end_;
  };

  // Of Job: on a worker, or on the connection's thread.
  void Run() override;

  // Of Inbox::Owner.
  bool Parse(std::string_view bytes,
             google::protobuf::MessageLite* into) override;
  void OnTaken() override ABSL_LOCKS_EXCLUDED(mu_);
  void OnDrained() override {}
  // Holds what is unread against the memory for requests. False: there is no
  // room.
  bool HoldUnread() ABSL_LOCKS_EXCLUDED(mu_);

  // Of ServerConnection::Wait, with its lock held.
  void EndStalled() override;

  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Writes what credit allows, and the end. Unlocks meanwhile.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes what Pump() writes next into pumping_; false where nothing is due.
  bool TakeDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Shows the connection whether we wait for credit.
  void ShowWait(bool has_progress) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AwaitRoom();
  // It is over: drops what is queued.
  bool Drop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The connection forgets the stream, and the call is in flight no more.
  void Leave();

  const Target& target_;
  const std::shared_ptr<ServedConnection> connection_;
  const std::uint32_t id_;
  const bool has_credit_;
  std::unique_ptr<google::protobuf::MessageLite> request_;
  std::shared_ptr<ServerEnd> waiting_;  // While the pool has it.
  BlockedRead read_{*this};
  Inbox inbox_{*this};

  // Of the connection's thread.
  bool is_input_over_ = false;
  // Messages that the client may still send; of has_credit_.
  std::atomic<std::int64_t> allowed_;

  // Before the connection's.
  Mutex mu_;
  // Frames that wait for credit, with the sizes of each, or to be written.
  OutputBuffer queued_ ABSL_GUARDED_BY(mu_);
  std::deque<std::size_t> sizes_ ABSL_GUARDED_BY(mu_);
  std::uint64_t credit_ ABSL_GUARDED_BY(mu_);
  // Comes after the last of them.
  OutputBuffer end_ ABSL_GUARDED_BY(mu_);
  // A thread writes: pumping_ is its own.
  bool is_pumping_ ABSL_GUARDED_BY(mu_) = false;
  OutputBuffer pumping_;
  bool shows_wait_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Ready> writable_ ABSL_GUARDED_BY(mu_);
  // Messages taken since the client was granted some.
  std::uint32_t taken_ ABSL_GUARDED_BY(mu_) = 0;
  std::size_t held_memory_ ABSL_GUARDED_BY(mu_) = 0;
  // Set by the first of Finish, Abandon and Fail.
  bool is_over_ ABSL_GUARDED_BY(mu_) = false;
  bool has_left_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace tandem::rpc::ttrpc

#endif  // TANDEM_RPC_WIRE_TTRPC_SERVER_END_H_

// One connection that a server has, and the calls on it.

#ifndef TANDEM_RPC_SERVER_SERVER_CONNECTION_H_
#define TANDEM_RPC_SERVER_SERVER_CONNECTION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/server/caller.h"
#include "rpc/server/memory_budget.h"

namespace tandem::rpc {

// Who is at the other end, and what they have done. Shared by the front door
// that let it in, the ConnectionTable and each call, so it outlives the
// connection itself and, where a handler keeps a call, the server.
//
// Thread safety: thread-safe. The caller never changes.
class ServerConnection {
 public:
  // What waits for the client, as whoever waits shows it to the connection: an
  // answer that is on its way, or a handler that is blocked until a message
  // comes. Not destroyed between Begin...() and End...().
  class Wait {
   public:
    // The client lets it wait: end the call. With the connection's lock held,
    // so without EndWriting() or EndReading(), and without blocking.
    virtual void EndStalled() = 0;

   protected:
    virtual ~Wait() = default;

   private:
    friend class ServerConnection;
    Wait* before_ = nullptr;
    Wait* after_ = nullptr;
    std::int64_t since_ = 0;  // 0: not in the list.
    bool was_ended_ = false;
  };

  // `may_call_what_has_no_rule`: as the server's AccessPolicy says of `caller`.
  // `request_memory` may be null: then nothing is counted.
  explicit ServerConnection(
      Caller caller, bool may_call_what_has_no_rule = true,
      std::shared_ptr<MemoryBudget> request_memory = nullptr)
      : caller_(std::move(caller)),
        may_call_what_has_no_rule_(may_call_what_has_no_rule),
        request_memory_(std::move(request_memory)) {}
  ServerConnection(const ServerConnection&) = delete;
  ServerConnection& operator=(const ServerConnection&) = delete;

  const Caller& caller() const { return caller_; }
  bool may_call_what_has_no_rule() const { return may_call_what_has_no_rule_; }

  // False once the other side has left, or was shown the door. Calls may still
  // be running.
  bool is_open() const { return is_open_.load(kRelaxed); }

  // For the front door: by way of `socket` ShutDown() ends the connection,
  // until MarkEnded(), which comes before it is closed.
  void SetSocket(int socket) ABSL_LOCKS_EXCLUDED(mu_);
  void MarkEnded() ABSL_LOCKS_EXCLUDED(mu_);

  // Ends the connection at once. True the first time; false when it has ended
  // already, and where there is none, as within a process.
  bool ShutDown() ABSL_LOCKS_EXCLUDED(mu_);
  bool is_shut_down() const { return is_shut_down_.load(kRelaxed); }

  // For CallGuard, which counts calls through these and ActiveCall.
  // False when there are `max_calls` already.
  bool BeginCall(int max_calls) {
    if (calls_in_flight_.fetch_add(1, kRelaxed) < max_calls) {
      calls_.fetch_add(1, kRelaxed);
      return true;
    }
    EndCall();
    return false;
  }
  void EndCall() { calls_in_flight_.fetch_sub(1, kRelaxed); }
  void CountRefusedCall() { refused_calls_.fetch_add(1, kRelaxed); }
  // A call was for nothing. False when there are too many such: more than
  // `at_once`, and then a thousand a second.
  bool Charge(int at_once);
  void CountRequest(std::size_t bytes) {
    request_bytes_.fetch_add(bytes, kRelaxed);
  }
  void CountReply(std::size_t bytes) {
    reply_bytes_.fetch_add(bytes, kRelaxed);
  }
  MemoryBudget* request_memory() const { return request_memory_.get(); }

  // Between them, EndStalled() ends what takes too long.
  void BeginWriting(Wait& writing) ABSL_LOCKS_EXCLUDED(mu_);
  void EndWriting(Wait& writing) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the calls whose writing has begun longer ago than `limit`. False when
  // one that was ended so is not written even after `limit` again: then the
  // client reads nothing at all, and its connection must be ended.
  bool EndStalled(absl::Duration limit) ABSL_LOCKS_EXCLUDED(mu_);

  // Between them, EndSilent() ends what takes too long.
  void BeginReading(Wait& reading) ABSL_LOCKS_EXCLUDED(mu_);
  // Does nothing where EndSilent() has ended it.
  void EndReading(Wait& reading) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the calls whose handlers have been blocked for longer than `limit`.
  void EndSilent(absl::Duration limit) ABSL_LOCKS_EXCLUDED(mu_);

  int calls_in_flight() const { return calls_in_flight_.load(kRelaxed); }
  // Since the connection was made; messages of streams are in the bytes, and
  // what gRPC or the kernel add is not.
  std::uint64_t calls() const { return calls_.load(kRelaxed); }
  std::uint64_t refused_calls() const { return refused_calls_.load(kRelaxed); }
  std::uint64_t request_bytes() const { return request_bytes_.load(kRelaxed); }
  std::uint64_t reply_bytes() const { return reply_bytes_.load(kRelaxed); }

 private:
  static constexpr std::memory_order kRelaxed = std::memory_order_relaxed;

  // Oldest first.
  struct Waits {
    void Append(Wait& wait, std::int64_t now);
    void Unlink(Wait& wait);

    Wait* first = nullptr;
    Wait* last = nullptr;
  };

  const Caller caller_;
  const bool may_call_what_has_no_rule_;
  const std::shared_ptr<MemoryBudget> request_memory_;

  std::atomic<bool> is_open_{true};
  std::atomic<bool> is_shut_down_{false};
  // When all that was charged for will be forgiven.
  std::atomic<std::int64_t> forgiven_at_{0};
  std::atomic<int> calls_in_flight_{0};
  std::atomic<std::uint64_t> calls_{0};
  std::atomic<std::uint64_t> refused_calls_{0};
  std::atomic<std::uint64_t> request_bytes_{0};
  std::atomic<std::uint64_t> reply_bytes_{0};

  // Before the locks of gRPC.
  Mutex mu_;
  int socket_ ABSL_GUARDED_BY(mu_) = -1;
  Waits writing_ ABSL_GUARDED_BY(mu_);
  Waits reading_ ABSL_GUARDED_BY(mu_);
};

// A call that CallGuard let begin: it is in flight until
// End(), or until this object goes.
//
// Thread safety: thread-compatible; movable.
class ActiveCall {
 public:
  // `connection` has counted the call (BeginCall).
  explicit ActiveCall(std::shared_ptr<ServerConnection> connection)
      : connection_(std::move(connection)) {}
  ActiveCall(ActiveCall&& other) noexcept
      : connection_(std::move(other.connection_)),
        is_active_(std::exchange(other.is_active_, false)),
        held_bytes_(std::exchange(other.held_bytes_, 0)) {}
  // For a call that is used again.
  ActiveCall& operator=(ActiveCall&& other) noexcept {
    if (this == &other) return *this;
    End();
    connection_ = std::move(other.connection_);
    is_active_ = std::exchange(other.is_active_, false);
    held_bytes_ = std::exchange(other.held_bytes_, 0);
    return *this;
  }
  ~ActiveCall() { End(); }

  // It is in flight no more, though somebody may still ask for the caller.
  void End() {
    if (!std::exchange(is_active_, false)) return;
    Release();
    connection_->EndCall();
  }

  ServerConnection& connection() const { return *connection_; }
  const Caller& caller() const { return connection_->caller(); }

  // Has `bytes` of the connection's memory for requests in place of what the
  // call had, until it ends or Release(). Returns the budget that has not as
  // much left, or null. Little is not counted: the limit on calls bounds it.
  const MemoryBudget* Hold(std::size_t bytes) {
    Release();
    MemoryBudget* const memory = connection_->request_memory();
    if (bytes < kLittle || memory == nullptr) return nullptr;
    const MemoryBudget* const full = memory->Take(bytes);
    if (full == nullptr) held_bytes_ = bytes;
    return full;
  }
  void Release() {
    if (held_bytes_ == 0) return;
    connection_->request_memory()->Return(std::exchange(held_bytes_, 0));
  }

 private:
  static constexpr std::size_t kLittle = 16 << 10;

  std::shared_ptr<ServerConnection> connection_;
  bool is_active_ = true;
  std::size_t held_bytes_ = 0;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_SERVER_CONNECTION_H_

// Unary calls as generated clients make them: blocking, or with a callback.

#ifndef TANDEM_RPC_CLIENT_CALL_H_
#define TANDEM_RPC_CLIENT_CALL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/message_lite.h"
#include "rpc/client/spare_memory.h"
#include "rpc/client/transport.h"
#include "rpc/wire/method.h"

namespace tandem::rpc {

// A call whose caller waits for it, on the caller's stack.
//
// Thread safety: thread-compatible; finished by any thread.
class BlockingCall final : public ClientCall {
 public:
  // Where a caller waits that may have to read its answer itself.
  class Place {
   public:
    struct Entry;
    virtual ~Place() = default;
    // Returns once `call` is over, or will be without this thread. `id` and
    // `deadline` are what WaitAt() was told.
    virtual void Wait(BlockingCall& call, std::uint32_t id,
                      absl::Time deadline) = 0;
  };

  // What a place keeps of the callers who wait there, guarded by the place.
  struct Place::Entry {
    BlockingCall* before = nullptr;
    BlockingCall* behind = nullptr;
    bool is_listed = false;
    // Somebody is about to end the call.
    bool is_taken = false;
  };

  // `of`'s reply goes to `into`.
  BlockingCall(const Method& of, google::protobuf::MessageLite* into);

  // Begins the call and waits until it is over; returns its status.
  absl::Status Run(Transport& transport,
                   const google::protobuf::MessageLite& request,
                   const CallOptions& options);

  // For Transport::Start: has the caller go to `place`.
  void WaitAt(std::shared_ptr<Place> place, std::uint32_t id,
              absl::Time deadline) {
    place_ = std::move(place);
    id_ = id;
    deadline_ = deadline;
  }

  bool is_over() const {
    return (state_.load(std::memory_order_acquire) & kOver) != 0;
  }

  // For places, of whose callers one at a time has the turn to read.
  Place::Entry& entry() { return entry_; }
  void GiveTurn() { Tell(kTurn); }
  // Whether GiveTurn() was called since the last time.
  bool TakeTurn() {
    return (state_.fetch_and(~kTurn, std::memory_order_acq_rel) & kTurn) != 0;
  }
  // Waits until the call is over, it was given the turn, or for `deadline`.
  void AwaitTurn(absl::Time deadline) { Await(kOver | kTurn, deadline); }

 private:
  enum State : std::uint32_t {
    kOver = 1,
    kTurn = 2,
    kAsleep = 4,  // The caller is to be woken.
  };

  // Wakes the caller. If that is kOver, the call may be gone by then.
  void Tell(std::uint32_t what);
  // Until one of `what` is told.
  void Await(std::uint32_t what, absl::Time deadline);

  std::shared_ptr<Place> place_;
  std::uint32_t id_ = 0;
  absl::Time deadline_;
  Place::Entry entry_;

  // Of State.
  std::atomic<std::uint32_t> state_{0};
};

// Calls and waits. Blocks the thread for at most the call's timeout.
template <typename R>
absl::StatusOr<R> CallAndWait(Transport& transport, const Method& method,
                              const google::protobuf::MessageLite& request,
                              const CallOptions& options) {
  absl::StatusOr<R> reply{R()};
  BlockingCall call(method, &*reply);
  absl::Status status = call.Run(transport, request, options);
  if (!status.ok()) return status;
  return reply;
}

// A call that tells `Done` when it is over. Owns itself, in spare memory.
template <typename R, typename Done>
class CallbackCall final : public ClientCall {
 public:
  static CallbackCall* New(const std::shared_ptr<SpareMemory>& spare,
                           const Method& of, Done callback) {
    static_assert(alignof(CallbackCall) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
    return new (spare->Take(sizeof(CallbackCall)))
        CallbackCall(spare, of, std::move(callback));
  }

 private:
  CallbackCall(std::shared_ptr<SpareMemory> spare, const Method& of,
               Done callback)
      : spare_(std::move(spare)), callback_(std::move(callback)) {
    method = &of;
    reply = &reply_;
    done = [](ClientCall* call) { static_cast<CallbackCall*>(call)->Finish(); };
  }
  ~CallbackCall() = default;

  // The callback may destroy the transport.
  void Finish() {
    if constexpr (std::is_invocable_v<Done, const absl::Status&, R&>) {
      callback_(status, reply_);
    } else if (status.ok()) {
      callback_(absl::StatusOr<R>(std::move(reply_)));
    } else {
      callback_(absl::StatusOr<R>(std::move(status)));
    }
    const std::shared_ptr<SpareMemory> spare = std::move(spare_);
    this->~CallbackCall();
    spare->GiveBack(this, sizeof(CallbackCall));
  }

  std::shared_ptr<SpareMemory> spare_;
  Done callback_;
  R reply_;
};

// Begins a call and returns. `done` takes absl::StatusOr<R>, or (const
// absl::Status&, R&); it runs once, on any thread, maybe before this returns.
template <typename R, typename Done>
void CallThen(Transport& transport, const Method& method,
              const google::protobuf::MessageLite& request,
              const CallOptions& options, Done done) {
  static_assert(std::is_invocable_v<Done, absl::StatusOr<R>> ||
                    std::is_invocable_v<Done, const absl::Status&, R&>,
                "done takes absl::StatusOr<R>, or (const absl::Status&, R&)");
  transport.Start(
      CallbackCall<R, Done>::New(transport.spare(), method, std::move(done)),
      request, options);
}

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_CALL_H_

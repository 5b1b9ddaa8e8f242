#include "rpc/client/call.h"

#include <utility>

#include "absl/time/clock.h"
#include "rpc/base/futex.h"

namespace tandem::rpc {

BlockingCall::BlockingCall(const Method& of,
                           google::protobuf::MessageLite* into) {
  method = &of;
  reply = into;
  blocking = this;
  done = [](ClientCall* call) {
    static_cast<BlockingCall*>(call)->Tell(kOver);
  };
}

absl::Status BlockingCall::Run(Transport& transport,
                               const google::protobuf::MessageLite& request,
                               const CallOptions& options) {
  transport.Start(this, request, options);
  if (place_ != nullptr) place_->Wait(*this, id_, deadline_);
  Await(kOver, absl::InfiniteFuture());
  return std::move(status);
}

void BlockingCall::Tell(std::uint32_t what) {
  const std::atomic<std::uint32_t>* const word = &state_;
  if ((state_.fetch_or(what, std::memory_order_acq_rel) & kAsleep) != 0) {
    WakeSleeper(word);
  }
}

void BlockingCall::Await(std::uint32_t what, absl::Time deadline) {
  std::uint32_t state = state_.load(std::memory_order_acquire);
  if ((state & what) != 0) return;
  state = state_.fetch_or(kAsleep, std::memory_order_acq_rel) | kAsleep;
  while ((state & what) == 0 && absl::Now() < deadline) {
    SleepWhile(state_, state, deadline);
    state = state_.load(std::memory_order_acquire);
  }
  state_.fetch_and(~kAsleep, std::memory_order_relaxed);
}

}  // namespace tandem::rpc

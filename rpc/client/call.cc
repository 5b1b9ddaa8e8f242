#include "rpc/client/call.h"

#include <utility>

namespace tandem::rpc {

BlockingCall::BlockingCall(const Method& of,
                           google::protobuf::MessageLite* into) {
  method = &of;
  reply = into;
  blocking = this;
  done = [](ClientCall* call) { static_cast<BlockingCall*>(call)->End(); };
}

absl::Status BlockingCall::Run(Transport& transport,
                               const google::protobuf::MessageLite& request,
                               const CallOptions& options) {
  transport.Start(this, request, options);
  if (place_ != nullptr) place_->Wait(*this, id_);
  {
    // Who ended it may hold the lock yet.
    MutexLock lock(mu_);
    mu_.Await([this] { return is_over(); });
  }
  return std::move(status);
}

void BlockingCall::End() {
  // Notified under the lock: the caller frees the call once it sees is_over_.
  MutexLock lock(mu_);
  is_over_.store(true, std::memory_order_release);
  mu_.NotifyOne();
}

void BlockingCall::GiveTurn() {
  MutexLock lock(mu_);
  has_turn_ = true;
  mu_.NotifyOne();
}

bool BlockingCall::TakeTurn() {
  MutexLock lock(mu_);
  return std::exchange(has_turn_, false);
}

void BlockingCall::AwaitTurn(absl::Time deadline) {
  MutexLock lock(mu_);
  mu_.AwaitUntil(deadline, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return is_over() || has_turn_;
  });
}

}  // namespace tandem::rpc

#include "rpc/client/call.h"

namespace tandem::rpc {

BlockingCall::BlockingCall(const Method& of,
                           google::protobuf::MessageLite* into) {
  method = &of;
  reply = into;
  done = [](ClientCall* call) {
    auto* self = static_cast<BlockingCall*>(call);
    // Notified under the lock: the caller frees the call once it sees is_over_.
    MutexLock lock(self->mu_);
    self->is_over_ = true;
    self->mu_.NotifyOne();
  };
}

absl::Status BlockingCall::Run(Transport& transport,
                               const google::protobuf::MessageLite& request,
                               const CallOptions& options) {
  transport.Start(this, request, options);
  transport.Wait(*this);
  return std::move(status);
}

void BlockingCall::Await() {
  MutexLock lock(mu_);
  mu_.Await([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return is_over_; });
}

void Transport::Wait(BlockingCall& call) { call.Await(); }

}  // namespace tandem::rpc

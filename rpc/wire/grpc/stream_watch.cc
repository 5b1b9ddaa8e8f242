#include "rpc/wire/grpc/stream_watch.h"

#include <grpc/grpc.h>
#include <grpcpp/support/byte_buffer.h>

#include <string_view>
#include <utility>

namespace tandem::rpc {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

thread_local StreamWatch* starting = nullptr;

// Sets it for as long as gRPC begins a call.
class Starting {
 public:
  explicit Starting(StreamWatch* watch)
      : outer_(std::exchange(starting, watch)) {}
  ~Starting() { starting = outer_; }
  Starting(const Starting&) = delete;
  Starting& operator=(const Starting&) = delete;

 private:
  StreamWatch* const outer_;
};

// Whether gRPC is given something to write.
bool Writes(InterceptorBatchMethods& batch) {
  return batch.QueryInterceptionHookPoint(
             InterceptionHookPoints::PRE_SEND_INITIAL_METADATA) ||
         batch.QueryInterceptionHookPoint(
             InterceptionHookPoints::PRE_SEND_MESSAGE) ||
         batch.QueryInterceptionHookPoint(
             InterceptionHookPoints::PRE_SEND_STATUS);
}

}  // namespace

StreamWatch* StreamWatch::TakeStarting() {
  return std::exchange(starting, nullptr);
}

void StreamWatch::Begin(grpc_call* call, ActiveCall& active,
                        const CallGuard& guard, const CallGuard::Method& method,
                        SizeOf size_of) {
  MutexLock lock(mu_);
  call_ = call;
  active_ = &active;
  guard_ = &guard;
  method_ = &method;
  size_of_ = std::move(size_of);
  is_watching_ = true;
}

void StreamWatch::End() {
  MutexLock lock(mu_);
  if (!std::exchange(is_watching_, false)) return;
  active_->connection().EndWriting(*this);
}

void StreamWatch::Intercept(InterceptorBatchMethods* batch) {
  // A notice, which may come with the connection's lock held.
  if (batch->QueryInterceptionHookPoint(
          InterceptionHookPoints::PRE_SEND_CANCEL)) {
    return;
  }
  // The call begins. What gRPC says is the message here is what GuardedMethod
  // made of it. A blocking handler has run when Proceed() returns, and this
  // object may be gone.
  if (batch->QueryInterceptionHookPoint(
          InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
    const Starting scope(this);
    return batch->Proceed();
  }
  absl::Status seen;
  {
    MutexLock lock(mu_);
    if (is_watching_) seen = LookAt(*batch);
  }
  if (!seen.ok()) {
    grpc_call_cancel_with_status(call_, GRPC_STATUS_RESOURCE_EXHAUSTED,
                                 std::string(seen.message()).c_str(), nullptr);
  }
  batch->Proceed();
}

absl::Status StreamWatch::LookAt(InterceptorBatchMethods& batch) {
  // gRPC shows the same batch before and after. It does not say
  // POST_SEND_MESSAGE of a message that was serialized for us, nor anything
  // after a status.
  if (&batch == writing_) {
    writing_ = nullptr;
    active_->connection().EndWriting(*this);
    return absl::OkStatus();
  }
  if (Writes(batch)) {
    if (batch.QueryInterceptionHookPoint(
            InterceptionHookPoints::PRE_SEND_MESSAGE)) {
      active_->connection().CountReply(
          batch.GetSerializedSendMessage()->Length());
    }
    // The end of a stream may be given while its last message is being written,
    // and is written after it.
    if (writing_ == nullptr) active_->connection().BeginWriting(*this);
    writing_ = &batch;
  }
  if (batch.QueryInterceptionHookPoint(
          InterceptionHookPoints::POST_RECV_MESSAGE)) {
    // Null at the end of the stream.
    if (const void* const message = batch.GetRecvMessage()) {
      const std::size_t bytes = size_of_(message);
      active_->connection().CountRequest(bytes);
      return guard_->Hold(*active_, bytes, *method_);
    }
  }
  return absl::OkStatus();
}

void StreamWatch::EndStalled() {
  guard_->CountStalled(active_->connection(), *method_);
  grpc_call_cancel_with_status(call_, GRPC_STATUS_CANCELLED,
                               "the client does not read its answer", nullptr);
}

grpc::experimental::Interceptor* StreamWatches::CreateServerInterceptor(
    ServerRpcInfo* call) {
  // GuardedMethod sees the one message and the one answer itself.
  if (call->type() == ServerRpcInfo::Type::UNARY) return nullptr;
  // "/kv.v1.Store/Watch".
  std::string_view service = call->method();
  service.remove_prefix(1);
  service = service.substr(0, service.find('/'));
  return services_.contains(service) ? new StreamWatch() : nullptr;
}

}  // namespace tandem::rpc

#include "rpc/wire/grpc/guarded_service.h"

// gRPC's side of the contract with its generated services. All that Tandem uses
// of it here: MethodHandler, RpcServiceMethod, ErrorMethodHandler,
// CallbackBidiHandler, Service::GetHandler, AddMethod and MarkMethodCallback.
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/support/alloc.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/support/method_handler.h>
#include <grpcpp/support/server_callback.h>
#if __has_include(<grpcpp/impl/server_callback_handlers.h>)
#include <grpcpp/impl/server_callback_handlers.h>
#else
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#endif

#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "rpc/wire/grpc/grpc_status.h"

namespace tandem::rpc {
namespace {

using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;
using grpc::ByteBuffer;
using grpc::internal::MethodHandler;
using grpc::internal::RpcMethod;

// The call that a handler of this thread was just given.
struct RunningCall {
  const grpc::ServerContextBase* context = nullptr;
  const Caller* caller = nullptr;
};
thread_local RunningCall running_call;

// Sets it for as long as the handler's method runs.
class Running {
 public:
  Running(const grpc::ServerContextBase* context, const Caller* caller)
      : outer_(std::exchange(running_call, {context, caller})) {}
  ~Running() { running_call = outer_; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  const RunningCall outer_;
};

// Reaches what gRPC keeps for its services.
struct Handlers : grpc::Service {
  static MethodHandler* Of(grpc::Service& service, int index) {
    return (service.*(&Handlers::GetHandler))(index);
  }
};

class RefusedCall final
    : public grpc::ServerBidiReactor<ByteBuffer, ByteBuffer> {
 public:
  explicit RefusedCall(const grpc::Status& why) { Finish(why); }
  void OnDone() override { delete this; }
};

// What gRPC asks of a method, in this order: Deserialize (unless the client
// streams), RunHandler.
class GuardedMethod final : public MethodHandler {
 public:
  GuardedMethod(const MethodDescriptor& method, MethodHandler& inner,
                bool has_callbacks, const GuardedServiceOptions& options)
      : inner_(inner),
        client_streams_(method.client_streaming()),
        has_callbacks_(has_callbacks),
        options_(options),
        guarded_(
            options.guard->For(method.service()->full_name(), method.name())) {}

  void* Deserialize(grpc_call* call, grpc_byte_buffer* bytes,
                    grpc::Status* status, void** handler_data) override {
    auto admission = std::make_unique<Admission>(Admission{Begin(call)});
    if (admission->call.ok() && bytes != nullptr) {
      const absl::Status held = options_.guard->Hold(
          *admission->call, grpc_byte_buffer_length(bytes), guarded_);
      if (!held.ok()) admission = std::make_unique<Admission>(Admission{held});
    }
    if (admission->call.ok()) {
      admission->request =
          inner_.Deserialize(call, bytes, status, handler_data);
    } else if (bytes != nullptr) {
      grpc_byte_buffer_destroy(bytes);
    }
    return admission.release();
  }

  void RunHandler(const HandlerParameter& call) override {
    // Begun once: a call that is cancelled by now has lost its peer.
    const std::shared_ptr<Admission> admission =
        client_streams_
            ? std::make_shared<Admission>(Admission{Begin(call.call->call())})
            : std::shared_ptr<Admission>(static_cast<Admission*>(call.request));
    if (!admission->call.ok()) return Refuse(call, admission->call.status());
    const Running running(call.server_context, &admission->call->caller());
    if (!has_callbacks_) {
      return inner_.RunHandler({call.call, call.server_context,
                                admission->request, call.status,
                                call.internal_data, nullptr});
    }
    // The call is in flight until gRPC has done with it, and says so.
    inner_.RunHandler({call.call, call.server_context, admission->request,
                       call.status, call.internal_data,
                       [admission, done = call.call_requester] {
                         admission->call->End();
                         done();
                       }});
  }

 private:
  // What gRPC carries from Deserialize to RunHandler in place of the request.
  struct Admission {
    absl::StatusOr<ActiveCall> call;
    void* request = nullptr;
  };

  absl::StatusOr<ActiveCall> Begin(grpc_call* call) const {
    char* const peer = grpc_call_get_peer(call);
    auto connection = options_.connection_of(peer);
    gpr_free(peer);
    return options_.guard->Begin(std::move(connection), guarded_);
  }

  // Not by way of `inner_`: a callback handler answers kUnimplemented, whatever
  // the error.
  void Refuse(const HandlerParameter& call, const absl::Status& why) const {
    using grpc::internal::ErrorMethodHandler;
    const std::string words = ToGrpc(why).error_message();
    if (has_callbacks_) {
      grpc::internal::CallbackBidiHandler<ByteBuffer, ByteBuffer>(
          [&why](grpc::CallbackServerContext*) {
            return new RefusedCall(ToGrpc(why));
          })
          .RunHandler({call.call, call.server_context, nullptr,
                       grpc::Status::OK, nullptr, call.call_requester});
    } else if (absl::IsResourceExhausted(why)) {
      ErrorMethodHandler<grpc::StatusCode::RESOURCE_EXHAUSTED>(words)
          .RunHandler(call);
    } else {
      ErrorMethodHandler<grpc::StatusCode::PERMISSION_DENIED>(words).RunHandler(
          call);
    }
  }

  MethodHandler& inner_;  // The service's.
  const bool client_streams_;
  const bool has_callbacks_;
  const GuardedServiceOptions& options_;  // The GuardedService's.
  const CallGuard::Method guarded_;
};

RpcMethod::RpcType TypeOf(const MethodDescriptor& method) {
  if (method.client_streaming()) {
    return method.server_streaming() ? RpcMethod::BIDI_STREAMING
                                     : RpcMethod::CLIENT_STREAMING;
  }
  return method.server_streaming() ? RpcMethod::SERVER_STREAMING
                                   : RpcMethod::NORMAL_RPC;
}

}  // namespace

absl::StatusOr<Caller> CallerOf(const grpc::ServerContextBase& context) {
  if (running_call.context == &context) return *running_call.caller;
  return absl::FailedPreconditionError(
      "CallerOf: not called by the method that was given this context, on the "
      "thread that it began on; or this server is not Tandem's");
}

absl::StatusOr<std::unique_ptr<GuardedService>> GuardedService::Create(
    const ServedGrpc& served, GuardedServiceOptions options) {
  const std::string name(served.name);
  const ServiceDescriptor* const service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
          name);
  if (service == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("ServeGrpc: ", name,
                     " has no descriptor: its .proto is not linked, or "
                     "has optimize_for = LITE_RUNTIME"));
  }
  if (served.service->has_async_methods() ||
      served.service->has_generic_methods()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ServeGrpc: ", name,
        " has methods of gRPC's completion queue or "
        "generic API; serve one that implements Service or CallbackService"));
  }
  const bool has_callbacks = served.service->has_callback_methods();
  if (has_callbacks && served.service->has_synchronous_methods()) {
    return absl::InvalidArgumentError(
        absl::StrCat("ServeGrpc: ", name,
                     " mixes gRPC's blocking and callback API; serve "
                     "one that implements either Service or CallbackService"));
  }
  // No make_unique: the constructor is private.
  std::unique_ptr<GuardedService> guarded(
      new GuardedService(std::move(options)));
  for (int i = 0; i < service->method_count(); ++i) {
    const MethodDescriptor& method = *service->method(i);
    guarded->paths_.push_back(absl::StrCat("/", name, "/", method.name()));
    auto handler = std::make_unique<GuardedMethod>(
        method, *Handlers::Of(*served.service, i), has_callbacks,
        guarded->options_);
    // The service owns the method, and that the handler.
    guarded->AddMethod(new grpc::internal::RpcServiceMethod(
        guarded->paths_.back().c_str(), TypeOf(method),
        has_callbacks ? nullptr : handler.get()));
    if (has_callbacks) guarded->MarkMethodCallback(i, handler.get());
    handler.release();
  }
  return guarded;
}

GuardedService::~GuardedService() = default;

}  // namespace tandem::rpc

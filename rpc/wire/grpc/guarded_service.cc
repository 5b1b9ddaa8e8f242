#include "rpc/wire/grpc/guarded_service.h"

// gRPC's side of the contract with its generated services. All that Tandem uses
// of it here: Call, CallHook, CallOpServerSendStatus, MethodHandler,
// RpcServiceMethod, ErrorMethodHandler, CallbackBidiHandler,
// Service::GetHandler, AddMethod and MarkMethodCallback.
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

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <typeinfo>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "rpc/wire/grpc/grpc_message.h"
#include "rpc/wire/grpc/grpc_status.h"
#include "rpc/wire/grpc/stream_watch.h"

namespace tandem::rpc {
namespace {

using google::protobuf::MessageFactory;
using google::protobuf::MessageLite;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;
using grpc::ByteBuffer;
using grpc::internal::MethodHandler;
using grpc::internal::RpcMethod;
using GrpcCall = grpc::internal::Call;

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

// The answer to a unary call. gRPC starts to write it, with the method's
// handler, by way of this.
class Answer final : public grpc::internal::CallHook,
                     public ServerConnection::Wait {
 public:
  // All outlive End().
  Answer(grpc_call* call, const ActiveCall& active, const CallGuard& guard,
         const CallGuard::Method& method)
      : call_(call), active_(active), guard_(guard), method_(method) {}

  void PerformOpsOnCall(grpc::internal::CallOpSetInterface* ops,
                        GrpcCall* call) override {
    // All else that it writes is, or ends with, the answer.
    using MetadataAlone =
        grpc::internal::CallOpSet<grpc::internal::CallOpSendInitialMetadata>;
    if (typeid(*ops) != typeid(MetadataAlone) &&
        !std::exchange(has_begun_, true)) {
      active_.connection().BeginWriting(*this);
    }
    // As grpc::Server does.
    ops->FillOps(call);
  }

  // It is written.
  void End() { active_.connection().EndWriting(*this); }

 private:
  void EndStalled() override {
    guard_.CountStalled(active_.connection(), method_);
    grpc_call_cancel_with_status(call_, GRPC_STATUS_CANCELLED,
                                 "the client does not read its answer",
                                 nullptr);
  }

  grpc_call* const call_;
  const ActiveCall& active_;
  const CallGuard& guard_;
  const CallGuard::Method& method_;
  bool has_begun_ = false;
};

// Whether a method with callbacks takes messages as bytes.
bool TakesBytes(const MethodHandler& handler) {
  using grpc::internal::CallbackBidiHandler;
  using grpc::internal::CallbackClientStreamingHandler;
  return dynamic_cast<const CallbackBidiHandler<ByteBuffer, ByteBuffer>*>(
             &handler) != nullptr ||
         dynamic_cast<
             const CallbackClientStreamingHandler<ByteBuffer, ByteBuffer>*>(
             &handler) != nullptr;
}

std::size_t SizeOfBytes(const void* message) {
  // It does not say so, but does not change.
  return const_cast<ByteBuffer*>(static_cast<const ByteBuffer*>(message))
      ->Length();
}

// gRPC made it a void* from the generated class, of which MessageLite is the
// first base.
std::size_t SizeOfMessage(const void* message) {
  return static_cast<const MessageLite*>(message)->ByteSizeLong();
}

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
  GuardedMethod(const MethodDescriptor& method, const std::string& path,
                MethodHandler& inner, bool has_callbacks,
                const GuardedServiceOptions& options)
      : inner_(inner),
        is_unary_(!method.client_streaming() && !method.server_streaming()),
        client_streams_(method.client_streaming()),
        takes_bytes_(TakesBytes(inner)),
        has_callbacks_(has_callbacks),
        request_(*MessageFactory::generated_factory()->GetPrototype(
            method.input_type())),
        path_(path),
        options_(options),
        guarded_(
            options.guard->For(method.service()->full_name(), method.name())) {}

  void* Deserialize(grpc_call* call, grpc_byte_buffer* bytes,
                    grpc::Status* status, void** handler_data) override {
    auto admission = std::make_unique<Admission>(Admission{Begin(call)});
    if (admission->call.ok() && bytes != nullptr) {
      const absl::Status counted =
          Count(*admission->call, grpc_byte_buffer_length(bytes));
      if (!counted.ok()) {
        admission = std::make_unique<Admission>(Admission{counted});
      }
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
    std::unique_ptr<Admission> admission(
        client_streams_ ? new Admission{Begin(call.call->call())}
                        : static_cast<Admission*>(call.request));
    if (!admission->call.ok()) return Refuse(call, admission->call.status());
    const Running running(call.server_context, &admission->call->caller());
    GrpcCall hooked = *call.call;
    if (is_unary_) {
      hooked = Watch(call, *admission);
    } else if (auto* watch = StreamWatch::TakeStarting(); watch != nullptr) {
      admission->watch = watch;
      watch->Begin(call.call->call(), *admission->call, *options_.guard,
                   guarded_, takes_bytes_ ? SizeOfBytes : SizeOfMessage);
    }
    if (!has_callbacks_) {
      inner_.RunHandler({&hooked, call.server_context, admission->request,
                         call.status, call.internal_data, nullptr});
      return End(*admission, *call.server_context);
    }
    // The call is in flight until gRPC has done with it, and says so, once.
    admission->done = call.call_requester;
    admission->context = call.server_context;
    auto* const kept = admission.release();
    inner_.RunHandler({&hooked, call.server_context, kept->request, call.status,
                       call.internal_data, [this, kept] {
                         const std::unique_ptr<Admission> over(kept);
                         End(*over, *over->context);
                         over->done();
                       }});
  }

 private:
  // What gRPC carries from Deserialize to RunHandler in place of the request.
  struct Admission {
    absl::StatusOr<ActiveCall> call;
    void* request = nullptr;
    std::optional<Answer> answer = std::nullopt;  // Of a unary call.
    StreamWatch* watch = nullptr;                 // Of another one.
    // Of one with callbacks.
    std::function<void()> done = nullptr;
    grpc::ServerContextBase* context = nullptr;

    void End() {
      if (answer.has_value()) answer->End();
      if (watch != nullptr) watch->End();
      call->End();
    }
  };

  // Counts one that its client gave up.
  void End(Admission& admission, const grpc::ServerContextBase& context) const {
    if (context.IsCancelled() &&
        std::chrono::system_clock::now() < context.deadline()) {
      options_.guard->CountGivenUp(admission.call->connection(), guarded_);
    }
    admission.End();
  }

  // `call`, but for the way in which its answer is written.
  GrpcCall Watch(const HandlerParameter& call, Admission& admission) const {
    grpc_call* const own = call.call->call();
    admission.answer.emplace(own, *admission.call, *options_.guard, guarded_);
    return GrpcCall(own, &*admission.answer, call.call->cq(),
                    call.call->max_receive_message_size(),
                    call.call->server_rpc_info());
  }

  absl::StatusOr<ActiveCall> Begin(grpc_call* call) const {
    char* const peer = grpc_call_get_peer(call);
    auto connection = options_.connection_of(peer);
    gpr_free(peer);
    return options_.guard->Begin(std::move(connection), guarded_);
  }

  // Counts the request, before it is parsed.
  absl::Status Count(ActiveCall& call, std::size_t bytes) const {
    call.connection().CountRequest(bytes);
    absl::Status fits =
        CheckLength(bytes, options_.max_message_bytes, request_, path_);
    if (!fits.ok()) {
      return options_.guard->Refuse(Refusal::kMessageTooLarge,
                                    call.connection(), std::move(fits));
    }
    return options_.guard->Hold(call, bytes, guarded_);
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
  const bool is_unary_;
  const bool client_streams_;
  const bool takes_bytes_;
  const bool has_callbacks_;
  // One of the method's requests.
  const MessageLite& request_;
  const std::string& path_;               // The GuardedService's.
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

const ServiceDescriptor* DescriptorOf(const ServedGrpc& served) {
  return google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
      std::string(served.name));
}

absl::StatusOr<std::unique_ptr<GuardedService>> GuardedService::Create(
    const ServedGrpc& served, GuardedServiceOptions options) {
  const std::string name(served.name);
  const ServiceDescriptor* const service = DescriptorOf(served);
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
        method, guarded->paths_.back(), *Handlers::Of(*served.service, i),
        has_callbacks, guarded->options_);
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

#include "rpc/wire/grpc/grpc_service.h"

// gRPC's side of the contract with its generated services. All that Tandem uses
// of it is in this file: RpcServiceMethod, CallbackUnaryHandler,
// CallbackBidiHandler, Service::AddMethod, Service::MarkMethodRawCallback.
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/support/server_callback.h>
#if __has_include(<grpcpp/impl/server_callback_handlers.h>)
#include <grpcpp/impl/server_callback_handlers.h>
#else
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#endif

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/server/reply.h"
#include "rpc/wire/grpc/grpc_message.h"
#include "rpc/wire/grpc/grpc_status.h"
#include "rpc/wire/grpc/outbox.h"

namespace tandem::rpc {
namespace {

using google::protobuf::MessageLite;
using grpc::ByteBuffer;
using grpc::CallbackServerContext;
using BidiReactor = grpc::ServerBidiReactor<ByteBuffer, ByteBuffer>;

// What the calls of one method have in common. Copied into streams: a handler
// may keep one that is over longer than the service lives.
struct Target {
  const Method& method;
  const CallGuard::Method guarded;
  const CallGuard& guard;
  void* const handler;
  // Null where the method runs inline.
  WorkerPool* const pool;
  const std::size_t max_message_bytes;
  const std::size_t max_reply_bytes;
};

absl::Time DeadlineOf(const CallbackServerContext& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) {
    return absl::InfiniteFuture();
  }
  return absl::FromChrono(deadline);
}

// What the client's program says, without what its library adds.
Metadata MetadataOf(const CallbackServerContext& context) {
  Metadata metadata;
  for (const auto& [key, value] : context.client_metadata()) {
    const std::string_view name(key.data(), key.size());
    if (name == "user-agent" || name.starts_with("grpc-")) continue;
    metadata.emplace_back(name, std::string_view(value.data(), value.size()));
  }
  return metadata;
}

// Counts what came in, before it is parsed into `into`.
absl::Status CountRequest(const Target& target, ActiveCall& active,
                          ByteBuffer& bytes, const MessageLite& into) {
  const std::size_t size = bytes.Length();
  active.connection().CountRequest(size);
  absl::Status fits =
      CheckLength(size, target.max_message_bytes, into, target.method.path);
  if (!fits.ok()) {
    return target.guard.Refuse(Refusal::kMessageTooLarge, active.connection(),
                               std::move(fits));
  }
  return target.guard.Hold(active, size, target.guarded);
}

// Has the pool run `job`, and counts where it has no room.
absl::Status Submit(const Target& target, const ActiveCall& active, Job* job) {
  absl::Status submitted =
      target.pool->Submit(active.connection().caller().connection_id, job);
  if (!absl::IsResourceExhausted(submitted)) return submitted;
  return target.guard.Refuse(Refusal::kTooManyQueuedCalls, active.connection(),
                             std::move(submitted));
}

// Serializes what goes out into `bytes`, and counts what is too large to go.
absl::Status ReplyToBytes(const Target& target, const ActiveCall& active,
                          const MessageLite& reply, ByteBuffer* bytes) {
  absl::Status fits =
      ToBytes(reply, target.max_reply_bytes, target.method.path, bytes);
  if (!absl::IsResourceExhausted(fits)) return fits;
  return target.guard.Refuse(Refusal::kReplyTooLarge, active.connection(),
                             std::move(fits));
}

// A unary call: gRPC's reactor, the handler's call and the pool's job in one
// object, which is gone after OnDone.
class UnaryCall final : public grpc::ServerUnaryReactor,
                        public ServerCall,
                        public Job,
                        public ServerConnection::Wait {
 public:
  UnaryCall(const Target& target, CallbackServerContext& context,
            ActiveCall active, ByteBuffer* reply)
      : ServerCall(std::move(active)),
        target_(target),
        context_(context),
        reply_(reply),
        request_(target.method.request->New()) {
    deadline_ = DeadlineOf(context);
    metadata_ = MetadataOf(context);
  }

  // Parses, and has the handler run.
  void Begin(const ByteBuffer& bytes) {
    // gRPC would keep the bytes until the call ends, but nobody reads them
    // again: parsing frees them.
    auto* const own = const_cast<ByteBuffer*>(&bytes);
    absl::Status status = CountRequest(target_, active_, *own, *request_);
    if (!status.ok()) return Finish(status, nullptr);
    status = FromBytes(own, target_.max_message_bytes, target_.method.path,
                       request_.get());
    if (!status.ok()) return Finish(status, nullptr);
    if (target_.pool == nullptr) return Run();
    status = Submit(target_, active_, this);
    if (!status.ok()) Finish(status, nullptr);
  }

  const MessageLite& request() const override { return *request_; }

  void Finish(const absl::Status& status, MessageLite* reply) override {
    ForgetCallback();
    absl::Status end = status;
    if (reply != nullptr) {
      end = ReplyToBytes(target_, active_, *reply, reply_);
      if (end.ok()) active_.connection().CountReply(reply_->Length());
    }
    active_.connection().BeginWriting(*this);
    ServerUnaryReactor::Finish(ToGrpc(end));
  }

 private:
  // On a worker, or on gRPC's thread for an inline method.
  void Run() override {
    if (is_cancelled()) {
      return Finish(absl::CancelledError("the client has gone"), nullptr);
    }
    target_.method.unary(target_.handler, *this);
  }

  void EndStalled() override {
    target_.guard.CountStalled(active_.connection(), target_.guarded);
    context_.TryCancel();
  }

  void OnCancel() override {
    MarkCancelled();
    if (absl::Now() < deadline_) {
      target_.guard.CountGivenUp(active_.connection(), target_.guarded);
    }
  }
  void OnDone() override {
    active_.connection().EndWriting(*this);
    delete this;
  }

  const Target& target_;
  CallbackServerContext& context_;
  ByteBuffer* const reply_;  // gRPC's, until Finish.
  const std::unique_ptr<MessageLite> request_;
};

// A call that streams, of any shape: on the wire all are bidirectional. Owned
// by gRPC until OnDone, by the Reader, Writer and Reply of the handler, and by
// the pool while it waits there.
class StreamCall final : public BidiReactor,
                         public ServerStream,
                         public Job,
                         public ServerConnection::Wait,
                         public std::enable_shared_from_this<StreamCall> {
 public:
  StreamCall(const Target& target, CallbackServerContext& context,
             ActiveCall active)
      : ServerStream(std::move(active)), target_(target), context_(context) {
    deadline_ = DeadlineOf(context);
    metadata_ = MetadataOf(context);
  }

  // Has the handler run, after reading the request where there is just one.
  void Begin() {
    grpc_owner_ = shared_from_this();
    if (target_.method.shape != Shape::kServerStream) return Dispatch();
    request_.reset(target_.method.request->New());
    Receive(request_.get(), [this](bool got) {
      if (got) return Dispatch();
      Finish(absl::InvalidArgumentError(
                 absl::StrCat(target_.method.path, ": no request was sent")),
             nullptr);
    });
  }

  absl::Status Send(const MessageLite& message) override
      ABSL_LOCKS_EXCLUDED(mu_) {
    ByteBuffer bytes;
    absl::Status status = ReplyToBytes(target_, active_, message, &bytes);
    if (!status.ok()) return absl::InvalidArgumentError(status.message());
    MutexLock lock(mu_);
    if (is_over_) return absl::CancelledError("the stream is over");
    if (outbox_.is_full()) {
      return absl::ResourceExhaustedError("the client reads too slowly");
    }
    outbox_.Push(std::move(bytes));
    Pump();
    return absl::OkStatus();
  }

  void OnWritable(Ready ready) override ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(mu_);
      if (!is_over_ && outbox_.is_full()) {
        writable_.push_back(std::move(ready));
        return;
      }
    }
    ready();
  }

  void Receive(MessageLite* into, Received done) override
      ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(mu_);
      if (!is_over_) {
        into_ = into;
        received_ = std::move(done);
        if (is_waited_for_) active_.connection().BeginReading(read_);
        StartRead(&bytes_in_);
        return;
      }
    }
    done(false);
  }

  bool ReceiveAndWait(MessageLite* into) override ABSL_LOCKS_EXCLUDED(mu_) {
    SetIsWaitedFor(true);
    const bool got = rpc::ReceiveAndWait(*this, into);
    SetIsWaitedFor(false);
    return got;
  }

  void Finish(const absl::Status& status, const MessageLite* last) override
      ABSL_LOCKS_EXCLUDED(mu_) {
    ForgetCallback();
    ByteBuffer bytes;
    absl::Status end = status;
    if (last != nullptr) {
      end = ReplyToBytes(target_, active_, *last, &bytes);
    }
    std::vector<Ready> writable;
    {
      MutexLock lock(mu_);
      if (is_over_) return;
      if (last != nullptr && end.ok()) outbox_.Push(std::move(bytes));
      writable = End(end);
      Pump();
    }
    for (Ready& ready : writable) ready();
  }

 private:
  // A message that a handler is blocked for. gRPC has the context as long as it
  // reads.
  class BlockedRead final : public ServerConnection::Wait {
   public:
    explicit BlockedRead(StreamCall& call) : call_(call) {}

    void EndStalled() override {
      call_.target_.guard.CountSilent(call_.active_.connection(),
                                      call_.target_.guarded);
      call_.context_.TryCancel();
    }

   private:
    StreamCall& call_;
  };

  void SetIsWaitedFor(bool is_waited_for) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    is_waited_for_ = is_waited_for;
  }

  void Dispatch() {
    if (target_.pool == nullptr) return Run();
    waiting_ = shared_from_this();
    absl::Status status = Submit(target_, active_, this);
    if (status.ok()) return;
    const auto self = std::exchange(waiting_, nullptr);
    Finish(status, nullptr);
  }

  // On a worker, or on gRPC's thread for an inline method.
  void Run() override {
    auto self = shared_from_this();
    waiting_ = nullptr;
    if (is_cancelled()) return;
    target_.method.stream(target_.handler, std::move(self), request_.get());
  }

  // Takes no more messages; returns what waited for room.
  std::vector<Ready> End(const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    is_over_ = true;
    end_ = status;
    return std::exchange(writable_, {});
  }

  // Starts the next write, or ends the call once all is written. gRPC runs its
  // reactions later, on another stack, so the lock may be held.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (is_writing_ || is_finished_) return;
    if (!outbox_.is_empty()) {
      is_writing_ = true;
      const ByteBuffer* const next = outbox_.Next();
      active_.connection().CountReply(next->Length());
      active_.connection().BeginWriting(*this);
      StartWrite(next);
    } else if (is_over_) {
      is_finished_ = true;
      BidiReactor::Finish(ToGrpc(end_));
    }
  }

  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_) {
    active_.connection().EndWriting(*this);
    std::vector<Ready> writable;
    {
      MutexLock lock(mu_);
      is_writing_ = false;
      outbox_.Written();
      if (!ok) outbox_.Clear();
      if (!outbox_.is_full()) writable.swap(writable_);
      Pump();
    }
    for (Ready& ready : writable) ready();
    if (!ok) Abandon(absl::CancelledError("the client has gone"));
  }

  // Ends what is being written, and with it the call, as a client that leaves
  // does. gRPC has the context as long as it writes.
  void EndStalled() override {
    target_.guard.CountStalled(active_.connection(), target_.guarded);
    context_.TryCancel();
  }

  void OnReadDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_) {
    Received done;
    MessageLite* into;
    {
      MutexLock lock(mu_);
      if (is_waited_for_) active_.connection().EndReading(read_);
      done = std::exchange(received_, nullptr);
      into = into_;
    }
    absl::Status status;
    if (ok) status = CountRequest(target_, active_, bytes_in_, *into);
    if (ok && status.ok()) {
      status = FromBytes(&bytes_in_, target_.max_message_bytes,
                         target_.method.path, into);
    }
    if (!status.ok()) Abandon(status);
    done(ok && status.ok());
  }

  void OnCancel() override {
    Abandon(absl::CancelledError("the client has gone"));
    if (absl::Now() < deadline_) {
      target_.guard.CountGivenUp(active_.connection(), target_.guarded);
    }
  }

  // Ends the call for gRPC, which then lets go of it, and tells the handler
  // that nobody listens. The handler may still hold it: its next Send answers
  // kCancelled.
  void Abandon(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mu_) {
    std::vector<Ready> writable;
    {
      MutexLock lock(mu_);
      outbox_.Clear();
      writable = End(why);
      Pump();
    }
    MarkCancelled();
    for (Ready& ready : writable) ready();
  }

  void OnDone() override {
    // Maybe the last owner: then this object is gone at the end.
    const auto self = std::exchange(grpc_owner_, nullptr);
    active_.End();
  }

  const Target target_;                     // Its guard is there until OnDone.
  CallbackServerContext& context_;          // gRPC's, until OnDone.
  std::shared_ptr<StreamCall> grpc_owner_;  // Until OnDone.
  std::shared_ptr<StreamCall> waiting_;     // While the pool has it.
  std::unique_ptr<MessageLite> request_;    // Of a server stream.
  // gRPC's, while it reads.
  ByteBuffer bytes_in_;
  BlockedRead read_{*this};

  Mutex mu_;
  Outbox outbox_ ABSL_GUARDED_BY(mu_);
  bool is_writing_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Ready> writable_ ABSL_GUARDED_BY(mu_);
  MessageLite* into_ ABSL_GUARDED_BY(mu_) = nullptr;
  Received received_ ABSL_GUARDED_BY(mu_);
  // The next Receive() is a handler's that is blocked.
  bool is_waited_for_ ABSL_GUARDED_BY(mu_) = false;
  // Set by the first of Finish and Abandon, with how the call ends.
  bool is_over_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mu_);
  // gRPC was told the end.
  bool is_finished_ ABSL_GUARDED_BY(mu_) = false;
};

// A call that may not begin: nothing was parsed, nothing ran. Who does not read
// why loses the connection in the end.
template <typename Reactor>
class RefusedCall final : public Reactor, public ServerConnection::Wait {
 public:
  // `connection` may be null.
  RefusedCall(const absl::Status& why, CallbackServerContext& context,
              std::shared_ptr<ServerConnection> connection)
      : context_(context), connection_(std::move(connection)) {
    if (connection_ != nullptr) connection_->BeginWriting(*this);
    this->Finish(ToGrpc(why));
  }

  void OnDone() override {
    if (connection_ != nullptr) connection_->EndWriting(*this);
    delete this;
  }

 private:
  void EndStalled() override { context_.TryCancel(); }

  CallbackServerContext& context_;
  const std::shared_ptr<ServerConnection> connection_;
};

// `options` lives as long as the service does, and so as long as its methods.
grpc::internal::MethodHandler* UnaryHandler(const Target& target,
                                            const GrpcServiceOptions& options) {
  return new grpc::internal::CallbackUnaryHandler<ByteBuffer, ByteBuffer>(
      [target, &options](CallbackServerContext* context,
                         const ByteBuffer* request,
                         ByteBuffer* reply) -> grpc::ServerUnaryReactor* {
        std::shared_ptr<ServerConnection> connection =
            options.connection_of(context->peer());
        absl::StatusOr<ActiveCall> active =
            target.guard.Begin(connection, target.guarded);
        if (!active.ok()) {
          return new RefusedCall<grpc::ServerUnaryReactor>(
              active.status(), *context, std::move(connection));
        }
        auto* call = new UnaryCall(target, *context, *std::move(active), reply);
        call->Begin(*request);
        return call;
      });
}

grpc::internal::MethodHandler* StreamHandler(
    const Target& target, const GrpcServiceOptions& options) {
  return new grpc::internal::CallbackBidiHandler<ByteBuffer, ByteBuffer>(
      [target, &options](CallbackServerContext* context) -> BidiReactor* {
        std::shared_ptr<ServerConnection> connection =
            options.connection_of(context->peer());
        absl::StatusOr<ActiveCall> active =
            target.guard.Begin(connection, target.guarded);
        if (!active.ok()) {
          return new RefusedCall<BidiReactor>(active.status(), *context,
                                              std::move(connection));
        }
        const auto call =
            std::make_shared<StreamCall>(target, *context, *std::move(active));
        call->Begin();
        return call.get();
      });
}

}  // namespace

GrpcService::GrpcService(const Served& served, GrpcServiceOptions options)
    : options_(std::move(options)) {
  using grpc::internal::RpcMethod;
  for (const Method& method : served.info->methods) {
    const bool is_unary = method.shape == Shape::kUnary;
    const Target target = {method,
                           options_.guard->For(method.service, method.name),
                           *options_.guard,
                           served.handler,
                           method.run == Run::kInline ? nullptr : options_.pool,
                           options_.max_message_bytes,
                           options_.max_reply_bytes};
    // The service owns both.
    AddMethod(new grpc::internal::RpcServiceMethod(
        method.path,
        is_unary ? RpcMethod::NORMAL_RPC : RpcMethod::BIDI_STREAMING, nullptr));
    MarkMethodRawCallback(method.index, is_unary
                                            ? UnaryHandler(target, options_)
                                            : StreamHandler(target, options_));
  }
}

GrpcService::~GrpcService() = default;

}  // namespace tandem::rpc

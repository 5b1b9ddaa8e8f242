#include "rpc/wire/grpc/grpc_transport.h"

#include <errno.h>
#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rpc/base/mutex.h"
#include "rpc/base/status_macros.h"
#include "rpc/client/failed_stream.h"
#include "rpc/client/server_view.h"
#include "rpc/wire/grpc/callback_threads.h"
#include "rpc/wire/grpc/grpc_message.h"
#include "rpc/wire/grpc/grpc_status.h"
#include "rpc/wire/grpc/outbox.h"

namespace tandem::rpc {

// A message that arrives: parsed and checked by us, because gRPC's callback API
// takes a reply that does not parse for a good one (1.51).
struct Incoming {
  std::string_view method;
  std::size_t max_bytes;
  google::protobuf::MessageLite* into;
  // Of the last message.
  absl::Status status;
};

}  // namespace tandem::rpc

// How gRPC parses one. Never fails for gRPC: the status is in the Incoming.
template <>
class grpc::SerializationTraits<tandem::rpc::Incoming, void> {
 public:
  static grpc::Status Deserialize(ByteBuffer* bytes,
                                  tandem::rpc::Incoming* incoming) {
    incoming->status = tandem::rpc::FromBytes(bytes, incoming->max_bytes,
                                              incoming->method, incoming->into);
    return grpc::Status::OK;
  }
};

namespace tandem::rpc {
namespace {

using google::protobuf::MessageLite;
using grpc::ByteBuffer;
using UnaryStub = grpc::TemplatedGenericStub<MessageLite, Incoming>;
using StreamStub = grpc::TemplatedGenericStub<ByteBuffer, Incoming>;

// Longer timeouts count as none.
constexpr absl::Duration kLongestTimeout = absl::Hours(24 * 365);

grpc::ChannelArguments ChannelArgs() {
  grpc::ChannelArguments args;
  // No load balancing, no retries, no service config: there is one connection.
  // Deadlines and sizes would go with them; sizes we check ourselves.
  args.SetInt(GRPC_ARG_MINIMAL_STACK, 1);
  args.SetInt(GRPC_ARG_ENABLE_DEADLINE_CHECKS, 1);
  args.SetInt(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, -1);
  args.SetInt(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
  // What Unix sockets use for the name of the host.
  args.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  // Ends streams, which have no deadline, when the server's process stands
  // still. Rarer than every 5 minutes, which servers take for abuse.
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 330'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return args;
}

void SetContext(std::optional<absl::Duration> timeout, const Metadata& metadata,
                grpc::ClientContext* context) {
  for (const auto& [key, value] : metadata) context->AddMetadata(key, value);
  if (!timeout.has_value() || *timeout > kLongestTimeout) return;
  context->set_deadline(absl::ToChronoTime(absl::Now() + *timeout));
}

// Whether only a server can have said so.
bool IsFromServer(grpc::StatusCode code) {
  return code != grpc::StatusCode::UNAVAILABLE &&
         code != grpc::StatusCode::CANCELLED &&
         code != grpc::StatusCode::DEADLINE_EXCEEDED;
}

}  // namespace

// What outlives the transport for as long as a call is in flight.
class GrpcTransport::Connection {
 public:
  Connection(UniqueFd watch, std::shared_ptr<grpc::Channel> channel,
             GrpcTransportOptions options)
      : max_message_bytes_(options.max_message_bytes),
        server_(std::move(options.peer), "gRPC"),
        watch_(std::move(watch)),
        channel_(std::move(channel)) {}

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  std::size_t max_message_bytes() const { return max_message_bytes_; }
  ServerView& server() { return server_; }
  const ServerView& server() const { return server_; }
  bool is_refused() const { return is_refused_; }

  bool WaitOver(absl::Duration timeout) const {
    if (is_over_) return true;
    const absl::Time end = absl::Now() + timeout;
    for (;;) {
      const absl::Duration left =
          std::clamp(end - absl::Now(), absl::ZeroDuration(), absl::Hours(1));
      pollfd ended = {watch_.get(), POLLRDHUP, 0};
      // Rounded up, or the last millisecond would be spent spinning.
      const int ready = ::poll(&ended, 1,
                               static_cast<int>(absl::ToInt64Milliseconds(
                                   absl::Ceil(left, absl::Milliseconds(1)))));
      if (ready > 0) is_over_ = true;
      if (is_over_) return true;
      if (ready == 0 && absl::Now() >= end) return false;
    }
  }

  void Close() {
    // Before the reader hears of it, so that no call finds it open afterwards.
    is_over_ = true;
    ::shutdown(watch_.get(), SHUT_RDWR);
  }

  // What a call ended with, with our words where gRPC has poor ones.
  absl::Status Explain(const Method& method, const grpc::Status& status,
                       std::optional<absl::Duration> timeout) {
    const std::string& message = status.error_message();
    if (IsProtocolError(status)) {
      is_refused_ = true;
      return server_.SpeaksAnother(method, message);
    }
    switch (status.error_code()) {
      case grpc::StatusCode::UNAVAILABLE:
        is_refused_ = true;
        if (!WaitOver(absl::ZeroDuration())) break;
        return server_.Broken(method, message);
      case grpc::StatusCode::DEADLINE_EXCEEDED:
        // gRPC's own words; a handler that says the same has no better ones.
        if (message != "Deadline Exceeded" || !timeout.has_value()) break;
        return server_.TooLate(method, *timeout);
      case grpc::StatusCode::CANCELLED:
        // gRPC's own words again: not we cancelled, but a server that stops.
        if (message != "CANCELLED") break;
        return server_.Stopping(method);
      case grpc::StatusCode::UNIMPLEMENTED:
        // A handler always says something.
        if (message.empty()) return server_.MissingMethod(method);
        break;
      default:
        break;
    }
    return FromGrpc(status);
  }

 private:
  // gRPC's own words for a peer that sends no HTTP/2.
  static bool IsProtocolError(const grpc::Status& status) {
    return (status.error_code() == grpc::StatusCode::UNKNOWN &&
            status.error_message() == "Stream removed") ||
           (status.error_code() == grpc::StatusCode::INTERNAL &&
            status.error_message() == "Trying to connect an http1.x server");
  }

  const std::size_t max_message_bytes_;
  ServerView server_;
  // Our own descriptor of the connection, to ask the kernel about it: gRPC's
  // must not be used, and its channel cannot say whether it is connected.
  const UniqueFd watch_;
  const std::shared_ptr<grpc::Channel> channel_;
  mutable std::atomic<bool> is_over_{false};
  std::atomic<bool> is_refused_{false};
};

// A unary call, which owns itself until its `done` has run.
class GrpcTransport::UnaryCall final : public grpc::ClientUnaryReactor {
 public:
  UnaryCall(std::shared_ptr<Connection> connection, ClientCall* call,
            const CallOptions& options)
      : connection_(std::move(connection)),
        call_(call),
        timeout_(options.timeout.value_or(kDefaultCallTimeout)),
        cancellation_(options.cancellation),
        incoming_{call->method->path, connection_->max_message_bytes(),
                  call->reply,
                  absl::InternalError(absl::StrCat(
                      call->method->path, ": the server sent no reply"))} {}

  void Begin(const MessageLite& request, const Metadata& metadata) {
    SetContext(timeout_, metadata, &context_);
    UnaryStub(connection_->channel())
        .PrepareUnaryCall(&context_, call_->method->path, {}, &request,
                          &incoming_, this);
    if (cancellation_.has_value()) {
      cancellation_key_ = cancellation_->Add([this] { context_.TryCancel(); });
    }
    StartCall();
  }

 private:
  void OnDone(const grpc::Status& status) override {
    if (cancellation_.has_value()) cancellation_->Remove(cancellation_key_);
    ClientCall* const call = call_;
    call->status = End(status);
    delete this;
    call->done(call);
  }

  absl::Status End(const grpc::Status& status) const {
    if (IsFromServer(status.error_code())) connection_->server().SetAnswered();
    if (status.ok()) return FitsClient(incoming_.status);
    if (status.error_code() == grpc::StatusCode::CANCELLED &&
        cancellation_.has_value() && cancellation_->is_cancelled()) {
      return CancelledByCaller(*call_->method);
    }
    return connection_->Explain(*call_->method, status, timeout_);
  }

  const std::shared_ptr<Connection> connection_;
  ClientCall* const call_;
  const absl::Duration timeout_;
  std::optional<Cancellation> cancellation_;
  std::uint64_t cancellation_key_ = 0;
  Incoming incoming_;
  grpc::ClientContext context_;
};

// A call that streams, of any shape: on the wire all are bidirectional. Owned
// by gRPC until OnDone, and by the client.
class GrpcTransport::Stream final
    : public ClientStream,
      public grpc::ClientBidiReactor<ByteBuffer, Incoming>,
      public std::enable_shared_from_this<Stream> {
 public:
  Stream(std::shared_ptr<Connection> connection, const Method& method,
         const CallOptions& options)
      : connection_(std::move(connection)),
        method_(method),
        timeout_(options.timeout),
        cancellation_(options.cancellation),
        incoming_{method.path, connection_->max_message_bytes(), nullptr, {}} {}

  // `request` is null where the client streams.
  void Begin(const MessageLite* request, const Metadata& metadata) {
    grpc_owner_ = shared_from_this();
    SetContext(timeout_, metadata, &context_);
    StreamStub(connection_->channel())
        .PrepareBidiStreamingCall(&context_, method_.path, {}, this);
    // Reads and writes begin outside gRPC's reactions: no OnDone before LetGo.
    AddHold();
    if (cancellation_.has_value()) {
      cancellation_key_ = cancellation_->Add([this] { Cancel(); });
    }
    StartCall();
    if (request == nullptr) return;
    (void)Send(*request);  // If the call is over, Receive says so.
    CloseSend();
  }

  absl::Status Send(const MessageLite& message) override
      ABSL_LOCKS_EXCLUDED(mu_) {
    ByteBuffer bytes;
    absl::Status status = ToBytes(message, connection_->max_message_bytes(),
                                  method_.path, &bytes);
    if (!status.ok()) return absl::InvalidArgumentError(status.message());
    MutexLock lock(mu_);
    if (is_send_over_) return absl::CancelledError("the stream is over");
    if (outbox_.is_full()) {
      return absl::ResourceExhaustedError("the server reads too slowly");
    }
    outbox_.Push(std::move(bytes));
    Pump();
    return absl::OkStatus();
  }

  void OnWritable(Ready ready) override ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(mu_);
      if (!is_send_over_ && outbox_.is_full()) {
        writable_.push_back(std::move(ready));
        return;
      }
    }
    ready();
  }

  void CloseSend() override ABSL_LOCKS_EXCLUDED(mu_) {
    std::vector<Ready> writable;
    {
      MutexLock lock(mu_);
      if (is_send_over_) return;
      writable = EndSend();
      is_closing_ = true;
      Pump();
    }
    for (Ready& ready : writable) ready();
  }

  void Receive(MessageLite* into, Received done) override
      ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(mu_);
      if (!is_done_) {
        received_ = std::move(done);
        if (is_released_) return;  // OnDone is on its way.
        incoming_.into = into;
        StartRead(&incoming_);
        return;
      }
    }
    done(false);
  }

  void Cancel() override {
    is_cancelled_ = true;
    context_.TryCancel();
    LetGo();
  }

  absl::Status status() const override ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return status_;
  }

 private:
  // Takes no more messages; returns what waited for room.
  std::vector<Ready> EndSend() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    is_send_over_ = true;
    return std::exchange(writable_, {});
  }

  // Starts the next write, or says that it was the last. gRPC runs its
  // reactions later, on another stack, so the lock may be held.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (is_writing_ || is_done_) return;
    if (!outbox_.is_empty()) {
      is_writing_ = true;
      const ByteBuffer* const next = outbox_.Next();
      // Those behind it go with it, in few system calls.
      grpc::WriteOptions options;
      if (!outbox_.is_empty()) options.set_buffer_hint();
      StartWrite(next, options);
    } else if (is_closing_) {
      is_closing_ = false;
      is_writing_ = true;
      StartWritesDone();
    }
  }

  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_) {
    std::vector<Ready> writable;
    {
      MutexLock lock(mu_);
      is_writing_ = false;
      outbox_.Written();
      if (!ok) {
        // The server takes no more. What it sent can still be read.
        outbox_.Clear();
        is_closing_ = false;
        writable = EndSend();
      } else if (!outbox_.is_full()) {
        writable.swap(writable_);
      }
      Pump();
    }
    for (Ready& ready : writable) ready();
  }

  void OnWritesDoneDone(bool) override ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    is_writing_ = false;
  }

  void OnReadDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_) {
    if (!ok) return LetGo();  // OnDone brings the status, and tells the reader.
    connection_->server().SetAnswered();
    Received done;
    {
      MutexLock lock(mu_);
      if (incoming_.status.ok()) {
        done = std::exchange(received_, nullptr);
      } else {
        status_ = FitsClient(incoming_.status);
      }
    }
    if (done) return done(true);
    Cancel();
  }

  // Begins no more reads and writes from outside, so that gRPC may say OnDone.
  void LetGo() ABSL_LOCKS_EXCLUDED(mu_) {
    std::vector<Ready> writable;
    {
      MutexLock lock(mu_);
      if (std::exchange(is_released_, true)) return;
      outbox_.Clear();
      is_closing_ = false;
      writable = EndSend();
    }
    RemoveHold();
    for (Ready& ready : writable) ready();
  }

  void OnDone(const grpc::Status& status) override ABSL_LOCKS_EXCLUDED(mu_) {
    if (cancellation_.has_value()) cancellation_->Remove(cancellation_key_);
    // Maybe the last owner: then this object is gone at the end.
    const auto self = std::exchange(grpc_owner_, nullptr);
    Received done;
    {
      MutexLock lock(mu_);
      is_done_ = true;
      if (status_.ok()) status_ = End(status);
      done = std::exchange(received_, nullptr);
    }
    if (done) done(false);
  }

  absl::Status End(const grpc::Status& status) const {
    if (status.ok()) return absl::OkStatus();
    if (status.error_code() == grpc::StatusCode::CANCELLED &&
        (is_cancelled_ ||
         (cancellation_.has_value() && cancellation_->is_cancelled()))) {
      return CancelledByCaller(method_);
    }
    return connection_->Explain(method_, status, timeout_);
  }

  const std::shared_ptr<Connection> connection_;
  const Method& method_;
  const std::optional<absl::Duration> timeout_;
  std::optional<Cancellation> cancellation_;
  std::uint64_t cancellation_key_ = 0;
  std::shared_ptr<Stream> grpc_owner_;      // Until OnDone.
  std::atomic<bool> is_cancelled_ = false;  // by us
  // gRPC's, while it reads.
  Incoming incoming_;
  grpc::ClientContext context_;

  mutable Mutex mu_;
  Outbox outbox_ ABSL_GUARDED_BY(mu_);
  bool is_writing_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Ready> writable_ ABSL_GUARDED_BY(mu_);
  // CloseSend was called, and gRPC not told yet.
  bool is_closing_ ABSL_GUARDED_BY(mu_) = false;
  // Send takes no more.
  bool is_send_over_ ABSL_GUARDED_BY(mu_) = false;
  Received received_ ABSL_GUARDED_BY(mu_);
  bool is_released_ ABSL_GUARDED_BY(mu_) = false;
  bool is_done_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

absl::StatusOr<std::unique_ptr<GrpcTransport>> GrpcTransport::Create(
    UniqueFd connection, GrpcTransportOptions options) {
  UniqueFd watch(::fcntl(connection.get(), F_DUPFD_CLOEXEC, 3));
  const int flags = ::fcntl(connection.get(), F_GETFL);
  if (!watch.is_valid() || flags < 0 ||
      ::fcntl(connection.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
    return absl::ErrnoToStatus(errno, options.peer);
  }
  KeepCallbackThreads();
  const std::string target = options.peer;
  auto channel = grpc::CreateCustomInsecureChannelFromFd(
      target, connection.Release(), ChannelArgs());
  return std::unique_ptr<GrpcTransport>(
      new GrpcTransport(std::make_shared<Connection>(
          std::move(watch), std::move(channel), std::move(options))));
}

GrpcTransport::GrpcTransport(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)) {}

GrpcTransport::~GrpcTransport() { Close(); }

void GrpcTransport::Start(ClientCall* call, const MessageLite& request,
                          const CallOptions& options) {
  call->status = CheckStart(*connection_, *call->method, &request, options);
  if (!call->status.ok()) return call->done(call);
  (new UnaryCall(connection_, call, options))->Begin(request, options.metadata);
}

std::shared_ptr<ClientStream> GrpcTransport::Open(const Method& method,
                                                  const MessageLite* request,
                                                  const CallOptions& options) {
  absl::Status status = CheckStart(*connection_, method, request, options);
  if (!status.ok()) return FailedStream(std::move(status));
  auto stream = std::make_shared<Stream>(connection_, method, options);
  stream->Begin(request, options.metadata);
  return stream;
}

absl::Status GrpcTransport::CheckStart(const Connection& connection,
                                       const Method& method,
                                       const MessageLite* request,
                                       const CallOptions& options) {
  if (options.cancellation.has_value() &&
      options.cancellation->is_cancelled()) {
    return CancelledByCaller(method);
  }
  if (connection.WaitOver(absl::ZeroDuration())) {
    return connection.server().Closed(method);
  }
  TANDEM_RETURN_IF_ERROR(CheckMetadata(options.metadata));
  if (request == nullptr) return absl::OkStatus();
  return CheckSize(*request, connection.max_message_bytes(), method.path);
}

std::shared_ptr<grpc::Channel> GrpcTransport::channel() const {
  return connection_->channel();
}

bool GrpcTransport::is_over() const {
  return connection_->WaitOver(absl::ZeroDuration());
}

bool GrpcTransport::WaitOver(absl::Duration timeout) const {
  return connection_->WaitOver(timeout);
}

bool GrpcTransport::is_refused() const { return connection_->is_refused(); }

void GrpcTransport::Close() { connection_->Close(); }

void GrpcTransport::set_hello(const absl::StatusOr<v1::HelloReply>& hello) {
  if (hello.ok()) connection_->server().set_hello(*hello);
}

}  // namespace tandem::rpc

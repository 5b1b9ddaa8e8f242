#include "rpc/client/in_process.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <typeinfo>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/base/status_macros.h"
#include "rpc/client/failed_stream.h"
#include "rpc/server/reply.h"

namespace tandem::rpc {
namespace {

using google::protobuf::MessageLite;

// Bytes that may wait for the other side to read. One message more than this is
// taken, so that each message fits.
constexpr std::size_t kMaxUnreadBytes = 256 << 10;
// An empty message takes room as well.
constexpr std::size_t kMessageOverhead = 64;

std::unique_ptr<MessageLite> Copy(const MessageLite& message) {
  std::unique_ptr<MessageLite> copy(message.New());
  copy->CheckTypeAndMergeFrom(message);
  return copy;
}

void MoveReply(const Method& method, MessageLite& from, MessageLite& to) {
  if (typeid(to) == typeid(*method.reply)) return method.move_reply(from, to);
  to.ParseFromString(from.SerializeAsString());
}

absl::Status CheckSize(const Method& method, const MessageLite& message,
                       std::size_t max_bytes) {
  const std::size_t bytes = message.ByteSizeLong();
  if (bytes <= max_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(method.path, ": a ", message.GetTypeName(), " of ", bytes,
                   " bytes is larger than the limit of ", max_bytes, " bytes"));
}

absl::Status Cancelled(const Method& method) {
  return absl::CancelledError(
      absl::StrCat(method.path, " was cancelled by its caller"));
}

absl::Status TooLate(const Method& method, absl::Duration timeout) {
  return absl::DeadlineExceededError(
      absl::StrCat(method.path, ": no answer from this process within ",
                   absl::FormatDuration(timeout)));
}

absl::Status ClosedError(const Method& method) {
  return absl::UnavailableError(absl::StrCat(
      method.path, ": the connection within this process is closed"));
}

Caller ThisProcess() {
  Caller caller;
  caller.uid = ::geteuid();
  caller.gid = ::getegid();
  caller.groups.resize(std::max(::getgroups(0, nullptr), 0));
  caller.groups.resize(
      std::max(::getgroups(caller.groups.size(), caller.groups.data()), 0));
  caller.groups.push_back(caller.gid);
  caller.pid = ::getpid();
  return caller;
}

Caller CallerOf(const InProcessTransport::Options& options) {
  Caller caller = options.caller ? *options.caller : ThisProcess();
  caller.connection_id = 1;
  caller.wire = "in-process";
  caller.since = absl::Now();
  return caller;
}

}  // namespace

// A call that can be ended from outside.
class InProcessTransport::Ongoing {
 public:
  // Ends the call with `why` for its caller, and tells the handler. Does
  // nothing once it has ended.
  virtual void Abort(const absl::Status& why) = 0;
  // What it ends with when its deadline passes, and when the connection ends.
  virtual absl::Status too_late() const = 0;
  virtual absl::Status closed() const = 0;

 protected:
  virtual ~Ongoing() = default;
};

// The calls in flight by deadline, and a thread that ends those whose deadline
// passes.
//
// Thread safety: thread-safe. Calls are aborted without locks held.
class InProcessTransport::CallTable {
 public:
  CallTable() : thread_([this] { Run(); }) {}

  // False once closed: the call is not added then.
  bool Add(absl::Time deadline, std::shared_ptr<Ongoing> call)
      ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    if (is_closed_) return false;
    const auto place = calls_.emplace(deadline, std::move(call)).first;
    if (place == calls_.begin()) mu_.NotifyAll();
    return true;
  }

  void Remove(absl::Time deadline, std::shared_ptr<Ongoing> call)
      ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    calls_.erase({deadline, std::move(call)});
  }

  // Aborts all calls.
  void Close() ABSL_LOCKS_EXCLUDED(mu_) {
    Calls calls;
    {
      MutexLock lock(mu_);
      is_closed_ = true;
      calls.swap(calls_);
      mu_.NotifyAll();
    }
    for (const auto& [deadline, call] : calls) call->Abort(call->closed());
  }

  // Closes, and ends the thread.
  void Stop() {
    Close();
    thread_.join();
  }

  bool WaitClosed(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return mu_.AwaitFor(timeout, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return is_closed_;
    });
  }

 private:
  using Calls = std::set<std::pair<absl::Time, std::shared_ptr<Ongoing>>>;

  void Run() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    while (!is_closed_) {
      const absl::Time next =
          calls_.empty() ? absl::InfiniteFuture() : calls_.begin()->first;
      if (next > absl::Now()) {
        mu_.AwaitUntil(next, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
          return is_closed_ ||
                 (!calls_.empty() && calls_.begin()->first < next);
        });
        continue;
      }
      const std::shared_ptr<Ongoing> late = calls_.begin()->second;
      calls_.erase(calls_.begin());
      mu_.Unlock();
      late->Abort(late->too_late());
      mu_.Lock();
    }
  }

  Mutex mu_;
  bool is_closed_ ABSL_GUARDED_BY(mu_) = false;
  Calls calls_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

// A unary call. Owned by itself until the handler has answered, and by the call
// table.
class InProcessTransport::UnaryCall final
    : public ServerCall,
      public Ongoing,
      public Job,
      public std::enable_shared_from_this<UnaryCall> {
 public:
  UnaryCall(const InProcessTransport& transport, ActiveCall active,
            void* handler, ClientCall* client, const MessageLite& request,
            const CallOptions& options)
      : ServerCall(std::move(active)),
        method_(*client->method),
        handler_(handler),
        max_message_bytes_(transport.options_.max_message_bytes),
        timeout_(options.timeout.value_or(kDefaultCallTimeout)),
        cancellation_(options.cancellation),
        calls_(transport.calls_),
        request_(Copy(request)),
        client_(client) {
    deadline_ = absl::Now() + timeout_;
    metadata_ = options.metadata;
  }

  void Begin(WorkerPool* pool) {
    unanswered_ = shared_from_this();
    const auto self = unanswered_;
    if (cancellation_.has_value()) {
      const std::uint64_t key =
          cancellation_->Add([this] { Abort(Cancelled(method_)); });
      MutexLock lock(mu_);
      cancellation_key_ = key;
    }
    if (pool == nullptr) {
      Run();
      // Most have answered by now, and need no deadline.
      return WatchDeadline();
    }
    WatchDeadline();
    if (absl::Status status = pool->Submit(caller().connection_id, this);
        !status.ok()) {
      Finish(status, nullptr);
    }
  }

  const MessageLite& request() const override { return *request_; }

  void Finish(const absl::Status& status, MessageLite* reply) override {
    ForgetCallback();
    absl::Status end = status;
    if (reply != nullptr) end = CheckSize(method_, *reply, max_message_bytes_);
    // Gone at the end, unless the call table has it.
    const auto self = std::exchange(unanswered_, nullptr);
    ClientCall* const client = TakeClient();
    if (client == nullptr) return;
    if (reply != nullptr && end.ok()) {
      MoveReply(method_, *reply, *client->reply);
    }
    client->status = std::move(end);
    client->done(client);
  }

 private:
  void Run() override {
    if (is_cancelled()) return Finish(Cancelled(method_), nullptr);
    method_.unary(handler_, *this);
  }

  void Abort(const absl::Status& why) override {
    const auto self = shared_from_this();
    ClientCall* const client = TakeClient();
    if (client == nullptr) return;
    MarkCancelled();
    client->status = why;
    client->done(client);
  }

  absl::Status too_late() const override { return TooLate(method_, timeout_); }
  absl::Status closed() const override { return ClosedError(method_); }

  void WatchDeadline() ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(mu_);
      if (client_ == nullptr) return;
      is_watched_ = calls_->Add(deadline_, shared_from_this());
      if (is_watched_) return;
    }
    Abort(ClosedError(method_));
  }

  // The caller's call, for who comes first; null for others. Nobody will abort
  // the call any more.
  ClientCall* TakeClient() ABSL_LOCKS_EXCLUDED(mu_) {
    ClientCall* client;
    std::uint64_t key;
    bool is_watched;
    {
      MutexLock lock(mu_);
      client = std::exchange(client_, nullptr);
      if (client == nullptr) return nullptr;
      key = cancellation_key_;
      is_watched = is_watched_;
    }
    if (key != 0) cancellation_->Remove(key);
    if (is_watched) calls_->Remove(deadline_, shared_from_this());
    return client;
  }

  const Method& method_;
  void* const handler_;
  const std::size_t max_message_bytes_;
  const absl::Duration timeout_;
  std::optional<Cancellation> cancellation_;
  const std::shared_ptr<CallTable> calls_;
  const std::unique_ptr<MessageLite> request_;
  std::shared_ptr<UnaryCall> unanswered_;  // Until the handler has answered.

  // Before CallTable's lock.
  Mutex mu_;
  // Null once its `done` was or is being called.
  ClientCall* client_ ABSL_GUARDED_BY(mu_);
  std::uint64_t cancellation_key_ ABSL_GUARDED_BY(mu_) = 0;
  bool is_watched_ ABSL_GUARDED_BY(mu_) = false;
};

// One direction of a stream: a bounded queue with one reader.
//
// Thread safety: thread-safe. Callbacks run without locks held, on the thread
// that made them due, one after the other: a reader that reads on from within
// its callback does not grow the stack.
class InProcessTransport::Pipe {
 public:
  absl::Status Send(const MessageLite& message) ABSL_LOCKS_EXCLUDED(mu_) {
    const std::size_t bytes = message.ByteSizeLong() + kMessageOverhead;
    std::unique_ptr<MessageLite> copy = Copy(message);
    MutexLock lock(mu_);
    if (is_closed_) return absl::CancelledError("the stream is over");
    if (unread_bytes_ >= kMaxUnreadBytes) {
      return absl::ResourceExhaustedError("the other side reads too slowly");
    }
    unread_bytes_ += bytes;
    queue_.push_back({std::move(copy), bytes});
    Deliver();
    return absl::OkStatus();
  }

  void OnWritable(MessageStream::Ready ready) ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(mu_);
      if (!is_closed_ && unread_bytes_ >= kMaxUnreadBytes) {
        writable_.push_back(std::move(ready));
        return;
      }
    }
    ready();
  }

  void Receive(MessageLite* into, MessageStream::Received done)
      ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    into_ = into;
    received_ = std::move(done);
    Deliver();
  }

  // Takes no more messages; what is queued can still be read.
  void Close() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    is_closed_ = true;
    Deliver();
  }

  // The same, but drops what is queued.
  void Break() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    is_closed_ = true;
    queue_.clear();
    unread_bytes_ = 0;
    Deliver();
  }

 private:
  // Runs what is due, until nothing is. One thread at a time does so: another
  // may leave its work to it.
  void Deliver() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (is_delivering_) return;
    is_delivering_ = true;
    for (;;) {
      std::vector<MessageStream::Ready> writable;
      if (is_closed_ || unread_bytes_ < kMaxUnreadBytes) {
        writable.swap(writable_);
      }
      MessageStream::Received received;
      std::unique_ptr<MessageLite> message;
      MessageLite* const into = into_;
      if (received_ != nullptr && (is_closed_ || !queue_.empty())) {
        received = std::exchange(received_, nullptr);
      }
      if (received != nullptr && !queue_.empty()) {
        message = std::move(queue_.front().message);
        unread_bytes_ -= queue_.front().bytes;
        queue_.pop_front();
      }
      if (received == nullptr && writable.empty()) break;
      mu_.Unlock();
      if (message != nullptr) {
        into->Clear();
        into->CheckTypeAndMergeFrom(*message);
      }
      if (received != nullptr) received(message != nullptr);
      for (MessageStream::Ready& ready : writable) ready();
      mu_.Lock();
    }
    is_delivering_ = false;
  }

  struct Unread {
    std::unique_ptr<MessageLite> message;
    std::size_t bytes;
  };

  Mutex mu_;
  std::deque<Unread> queue_ ABSL_GUARDED_BY(mu_);
  std::size_t unread_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool is_closed_ ABSL_GUARDED_BY(mu_) = false;
  bool is_delivering_ ABSL_GUARDED_BY(mu_) = false;
  MessageLite* into_ ABSL_GUARDED_BY(mu_) = nullptr;
  MessageStream::Received received_ ABSL_GUARDED_BY(mu_);
  std::vector<MessageStream::Ready> writable_ ABSL_GUARDED_BY(mu_);
};

// A call that streams, as the handler sees it. Owned by the handler's Reader,
// Writer and Reply, by the client's end, by the call table, and by the pool
// while it waits there.
class InProcessTransport::Stream final
    : public ServerStream,
      public Ongoing,
      public Job,
      public std::enable_shared_from_this<Stream> {
 public:
  Stream(const InProcessTransport& transport, ActiveCall active, void* handler,
         const Method& method, const MessageLite* request,
         const CallOptions& options)
      : ServerStream(std::move(active)),
        method_(method),
        handler_(handler),
        max_message_bytes_(transport.options_.max_message_bytes),
        timeout_(options.timeout.value_or(absl::InfiniteDuration())),
        cancellation_(options.cancellation),
        calls_(transport.calls_),
        request_(request == nullptr ? nullptr : Copy(*request)) {
    deadline_ = absl::Now() + timeout_;
    metadata_ = options.metadata;
    if (request != nullptr) up_.Close();
  }

  void Begin(WorkerPool* pool) {
    const auto self = shared_from_this();
    if (cancellation_.has_value()) {
      const std::uint64_t key =
          cancellation_->Add([this] { Abort(Cancelled(method_)); });
      MutexLock lock(mu_);
      cancellation_key_ = key;
    }
    WatchDeadline();
    if (pool == nullptr) return Run();
    waiting_ = self;
    if (absl::Status status = pool->Submit(caller().connection_id, this);
        !status.ok()) {
      waiting_ = nullptr;
      Finish(status, nullptr);
    }
  }

  // The handler's side. Callbacks may drop the last owner, so each function
  // owns the stream while it runs.
  absl::Status Send(const MessageLite& message) override {
    const auto self = shared_from_this();
    return SendInto(down_, message);
  }
  void OnWritable(Ready ready) override {
    const auto self = shared_from_this();
    down_.OnWritable(std::move(ready));
  }
  void Receive(MessageLite* into, Received done) override {
    const auto self = shared_from_this();
    up_.Receive(into, std::move(done));
  }
  void Finish(const absl::Status& status, const MessageLite* last) override {
    const auto self = shared_from_this();
    ForgetCallback();
    absl::Status end = status;
    if (last != nullptr) end = CheckSize(method_, *last, max_message_bytes_);
    if (!End(end)) return;
    if (last != nullptr && end.ok()) (void)down_.Send(*last);
    down_.Close();
    up_.Break();
  }

  // The client's side.
  absl::Status ClientSend(const MessageLite& message) {
    const auto self = shared_from_this();
    return SendInto(up_, message);
  }
  void ClientOnWritable(Ready ready) {
    const auto self = shared_from_this();
    up_.OnWritable(std::move(ready));
  }
  void ClientReceive(MessageLite* into, Received done) {
    const auto self = shared_from_this();
    down_.Receive(into, [this, done = std::move(done)](bool got) {
      if (!got) is_read_ = true;
      done(got);
    });
  }
  void CloseSend() {
    const auto self = shared_from_this();
    up_.Close();
  }
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return is_read_ ? end_ : absl::OkStatus();
  }
  // The client gives up.
  void Cancel() {
    const auto self = shared_from_this();
    Abort(Cancelled(method_));
    // What the handler has sent before it finished is of no use any more.
    down_.Break();
  }

  void Abort(const absl::Status& why) override {
    const auto self = shared_from_this();
    if (!End(why)) return;
    // Whoever learns of the end sees the call cancelled, and Send fail.
    down_.Break();
    MarkCancelled();
    up_.Break();
  }

 private:
  void Run() override {
    auto self = shared_from_this();
    waiting_ = nullptr;
    if (is_cancelled()) return;
    method_.stream(handler_, std::move(self), request_.get());
  }

  absl::Status SendInto(Pipe& pipe, const MessageLite& message) const {
    const absl::Status fits = CheckSize(method_, message, max_message_bytes_);
    if (!fits.ok()) return absl::InvalidArgumentError(fits.message());
    return pipe.Send(message);
  }

  absl::Status too_late() const override { return TooLate(method_, timeout_); }
  absl::Status closed() const override { return ClosedError(method_); }

  void WatchDeadline() ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(mu_);
      if (is_over_) return;
      is_watched_ = calls_->Add(deadline_, shared_from_this());
      if (is_watched_) return;
    }
    Abort(ClosedError(method_));
  }

  // True for the first: how the call ends. Nobody will abort it any more.
  bool End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_) {
    std::uint64_t key;
    bool is_watched;
    {
      MutexLock lock(mu_);
      if (std::exchange(is_over_, true)) return false;
      end_ = status;
      key = cancellation_key_;
      is_watched = is_watched_;
    }
    if (key != 0) cancellation_->Remove(key);
    if (is_watched) calls_->Remove(deadline_, shared_from_this());
    return true;
  }

  const Method& method_;
  void* const handler_;
  const std::size_t max_message_bytes_;
  const absl::Duration timeout_;
  std::optional<Cancellation> cancellation_;
  const std::shared_ptr<CallTable> calls_;
  const std::unique_ptr<MessageLite> request_;  // Of a server stream.
  std::shared_ptr<Stream> waiting_;             // While the pool has it.
  Pipe up_;
  Pipe down_;
  std::atomic<bool> is_read_{false};  // The client was told the end.

  // Before CallTable's lock.
  mutable Mutex mu_;
  bool is_over_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mu_);
  std::uint64_t cancellation_key_ ABSL_GUARDED_BY(mu_) = 0;
  bool is_watched_ ABSL_GUARDED_BY(mu_) = false;
};

// The client's end of a stream.
class InProcessTransport::ClientEnd final : public ClientStream {
 public:
  explicit ClientEnd(std::shared_ptr<Stream> stream)
      : stream_(std::move(stream)) {}
  ~ClientEnd() override { Cancel(); }

  absl::Status Send(const MessageLite& message) override {
    return stream_->ClientSend(message);
  }
  void OnWritable(Ready ready) override {
    stream_->ClientOnWritable(std::move(ready));
  }
  void Receive(MessageLite* into, Received done) override {
    stream_->ClientReceive(into, std::move(done));
  }
  void CloseSend() override { stream_->CloseSend(); }
  void Cancel() override { stream_->Cancel(); }
  absl::Status status() const override { return stream_->status(); }

 private:
  const std::shared_ptr<Stream> stream_;
};

InProcessTransport::InProcessTransport(std::vector<Served> services,
                                       Options options)
    : options_(std::move(options)),
      connection_(std::make_shared<ServerConnection>(
          CallerOf(options_),
          options_.access.MayCallWhatHasNoRule(CallerOf(options_)))),
      refusals_("in-process"),
      guard_(options_.access, std::numeric_limits<int>::max(), refusals_),
      targets_(Targets(services)),
      calls_(std::make_shared<CallTable>()),
      pool_(options_.workers == 0
                ? nullptr
                : std::make_unique<WorkerPool>(options_.workers,
                                               options_.max_queued_calls,
                                               WorkerPool::Clients::kOne)) {
  if (!options_.access.MayConnect(connection_->caller())) {
    connection_->MarkEnded();
  }
}

std::vector<InProcessTransport::Target> InProcessTransport::Targets(
    const std::vector<Served>& services) const {
  std::vector<Target> targets;
  for (const Served& served : services) {
    for (const Method& method : served.info->methods) {
      targets.push_back(
          {&method, served.handler, guard_.For(method.service, method.name)});
    }
  }
  return targets;
}

InProcessTransport::~InProcessTransport() { calls_->Stop(); }

void InProcessTransport::Start(ClientCall* call, const MessageLite& request,
                               const CallOptions& options) {
  const Target* const target = TargetOf(*call->method);
  absl::StatusOr<ActiveCall> active =
      BeginCall(target, *call->method, &request, options);
  call->status = active.status();
  if (!active.ok()) return call->done(call);
  std::make_shared<UnaryCall>(*this, *std::move(active), target->handler, call,
                              request, options)
      ->Begin(PoolFor(*call->method));
}

std::shared_ptr<ClientStream> InProcessTransport::Open(
    const Method& method, const MessageLite* request,
    const CallOptions& options) {
  const Target* const target = TargetOf(method);
  absl::StatusOr<ActiveCall> active =
      BeginCall(target, method, request, options);
  if (!active.ok()) return FailedStream(active.status());
  auto stream = std::make_shared<Stream>(
      *this, *std::move(active), target->handler, method, request, options);
  stream->Begin(PoolFor(method));
  return std::make_shared<ClientEnd>(std::move(stream));
}

void InProcessTransport::Close() { calls_->Close(); }

bool InProcessTransport::is_over() const {
  return calls_->WaitClosed(absl::ZeroDuration());
}

bool InProcessTransport::WaitOver(absl::Duration timeout) const {
  return calls_->WaitClosed(timeout);
}

const InProcessTransport::Target* InProcessTransport::TargetOf(
    const Method& method) const {
  // The same row, not just the same name: messages are handed over as they are,
  // so both sides must mean the same types.
  const auto found = std::find_if(
      targets_.begin(), targets_.end(),
      [&](const Target& target) { return target.method == &method; });
  return found == targets_.end() ? nullptr : &*found;
}

absl::StatusOr<ActiveCall> InProcessTransport::BeginCall(
    const Target* target, const Method& method, const MessageLite* request,
    const CallOptions& options) const {
  if (options.cancellation.has_value() &&
      options.cancellation->is_cancelled()) {
    return Cancelled(method);
  }
  if (!connection_->is_open()) {
    return absl::UnavailableError(absl::StrCat(
        method.path, ": ", connection_->caller().Name(),
        " may not connect, and the connection would be closed without an "
        "answer: the policy allows ",
        options_.access.WhoMayConnect()));
  }
  TANDEM_RETURN_IF_ERROR(CheckMetadata(options.metadata));
  if (target == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("this process has no method ", method.path));
  }
  if (is_over()) return ClosedError(method);
  if (options.timeout.has_value() && *options.timeout <= absl::ZeroDuration()) {
    return TooLate(method, *options.timeout);
  }
  if (request != nullptr) {
    TANDEM_RETURN_IF_ERROR(
        CheckSize(method, *request, options_.max_message_bytes));
  }
  return guard_.Begin(connection_, target->guarded);
}

WorkerPool* InProcessTransport::PoolFor(const Method& method) const {
  return method.run == Run::kInline ? nullptr : pool_.get();
}

}  // namespace tandem::rpc

#include "app/abci_socket_wire.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/protobuf/message_lite.h"
#include "proto/abci/socket_call.h"
#include "proto/abci/socket_error.h"
#include "proto/abci/socket_frame.h"
#include "rpc/base/mutex.h"
#include "rpc/server/reply.h"
#include "rpc/wire/frames/framed_connection.h"
#include "rpc/wire/frames/poller.h"
#include "rpc/wire/message_check.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::app {
namespace {

using ::google::protobuf::MessageLite;
using rpc::MutexLock;
using rpc::OutputBuffer;
using rpc::Refusal;
using rpc::Verdict;
using ::tandem::abci::SocketCall;
using ::tandem::abci::SocketFrame;

constexpr char kService[] = "tendermint.abci.ABCI";

// More requests of a connection that wait stay in the kernel; where the server
// takes fewer calls of one, as many as it takes.
constexpr std::size_t kMaxWaiting = 1024;
// How many are run in a row before others have their turn on the worker.
constexpr int kMaxInARow = 256;
// For the pool to have room again.
constexpr absl::Duration kRetry = absl::Milliseconds(10);
// For a client to read why the connection ends.
constexpr absl::Duration kLastWords = absl::Seconds(1);
// The same, of those that a stop ends.
constexpr absl::Duration kLastWordsOfStop = absl::Milliseconds(300);

}  // namespace

struct AbciSocketWire::Shared {
  rpc::WireParts parts;
  void* handler = nullptr;
  // By SocketCall::method->index.
  std::vector<rpc::CallGuard::Method> guarded;
  // Requests of one connection, with the one that runs.
  std::size_t max_waiting = 0;

  rpc::Mutex mu;
  bool is_stopping ABSL_GUARDED_BY(mu) = false;
  // Until they have ended, and so has the request that runs.
  std::unordered_set<std::shared_ptr<Connection>> connections
      ABSL_GUARDED_BY(mu);

  void Forget(Connection& connection) ABSL_LOCKS_EXCLUDED(mu);
};

// One request. Shared by the connection, until it is answered, and by who
// cancels it.
class AbciSocketWire::Call final : public rpc::ServerCall {
 public:
  Call(std::shared_ptr<Connection> connection, const SocketCall& kind,
       rpc::ActiveCall active)
      : ServerCall(std::move(active)),
        connection_(std::move(connection)),
        kind_(kind),
        request_(kind.method->request->New()) {}

  const SocketCall& kind() const { return kind_; }
  rpc::ActiveCall& active() { return active_; }
  MessageLite* mutable_request() { return request_.get(); }
  void Cancel() { MarkCancelled(); }
  // It is answered.
  void End() {
    ForgetCallback();
    active_.End();
  }

  const MessageLite& request() const override { return *request_; }
  void Finish(const absl::Status& status, MessageLite* reply) override;

 private:
  const std::shared_ptr<Connection> connection_;
  const SocketCall& kind_;
  const std::unique_ptr<MessageLite> request_;
};

// Lock order: mu_, then Shared's.
class AbciSocketWire::Connection final : public rpc::FramedConnection,
                                         public rpc::Job {
 public:
  Connection(rpc::UniqueFd socket,
             std::shared_ptr<rpc::ServerConnection> connection,
             rpc::PollThread& thread, std::shared_ptr<Shared> shared)
      : FramedConnection(std::move(socket), std::move(connection), thread,
                         rpc::BatchWriter::Batch::kInOrder),
        shared_(std::move(shared)) {}

  // Answers the request that runs. Any thread.
  void Answer(Call& call, const absl::Status& status, MessageLite* reply)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Takes no more requests. Any thread.
  void Drain() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    is_draining_ = true;
  }
  // Waits until none is waiting or running.
  void AwaitIdle(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    mu_.AwaitUntil(deadline, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return !is_working_ && writing_ == 0;
    });
  }
  // Drops those that wait, and tells the one that runs.
  void Cancel() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // What was asked, or what is wrong with it.
  struct Asked {
    std::shared_ptr<Call> call;
    absl::Status refused;
  };

  // On the thread that reads.
  std::size_t TakeFrame(std::string_view unread, std::size_t* needed) override
      ABSL_LOCKS_EXCLUDED(mu_);
  bool HasEnough() override ABSL_LOCKS_EXCLUDED(mu_);
  void EndBatch() override ABSL_LOCKS_EXCLUDED(mu_);
  std::size_t RefuseFrame(std::string_view unread) override;
  void Stalled() override;
  void Ended() override ABSL_LOCKS_EXCLUDED(mu_);
  void OnTime() override ABSL_LOCKS_EXCLUDED(mu_);
  Asked Take(const SocketFrame& frame);
  void Queue(Asked asked) ABSL_LOCKS_EXCLUDED(mu_);
  // Nothing that follows makes sense.
  void Break(absl::Status why) ABSL_LOCKS_EXCLUDED(mu_);
  // Counts it.
  absl::Status Refuse(Refusal reason, const absl::Status& why);

  // Runs what waits, in order, while is_working_. `on_worker`: also what may
  // block.
  void Work(bool on_worker) ABSL_LOCKS_EXCLUDED(mu_);
  enum class Next : std::uint8_t {
    kTaken,
    kNone,         // None waits: is_working_ no more.
    kIsForWorker,  // It may block.
    kAwaitsRoom,   // An answer that is not read keeps it from being run.
  };
  Next TakeNext(bool on_worker, Asked* into) ABSL_LOCKS_EXCLUDED(mu_);
  // Has more requests read, once enough have run.
  void MakeRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // None waits. After it the server may be gone.
  void Rest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Run() override;  // as a job
  // Has it go on on a worker.
  void Submit() ABSL_LOCKS_EXCLUDED(mu_);
  void SubmitSoon() ABSL_LOCKS_EXCLUDED(mu_);
  void Say(std::uint32_t member, const MessageLite& message, std::size_t bytes);
  void SayException(const absl::Status& why);

  const std::shared_ptr<Shared> shared_;
  std::shared_ptr<Connection> submitted_;  // while the pool has it
  // Of the thread that reads. When a broken connection ends.
  bool is_broken_ = false;
  absl::Time end_at_ = absl::InfiniteFuture();

  rpc::Mutex mu_;
  std::deque<Asked> asked_ ABSL_GUARDED_BY(mu_);
  bool is_working_ ABSL_GUARDED_BY(mu_) = false;
  // Workers that have answers which are not sent yet.
  int writing_ ABSL_GUARDED_BY(mu_) = 0;
  // The one that runs, until it is answered; and whether its handler has not
  // returned yet.
  std::shared_ptr<Call> running_ ABSL_GUARDED_BY(mu_);
  bool is_in_handler_ ABSL_GUARDED_BY(mu_) = false;
  bool is_refused_by_pool_ ABSL_GUARDED_BY(mu_) = false;
  bool is_draining_ ABSL_GUARDED_BY(mu_) = false;
  bool is_over_ ABSL_GUARDED_BY(mu_) = false;
  bool has_enough_ ABSL_GUARDED_BY(mu_) = false;
};

void AbciSocketWire::Shared::Forget(Connection& connection) {
  MutexLock lock(mu);
  connections.erase(
      std::static_pointer_cast<Connection>(connection.shared_from_this()));
}

void AbciSocketWire::Call::Finish(const absl::Status& status,
                                  MessageLite* reply) {
  const std::shared_ptr<Connection> connection = connection_;
  connection->Answer(*this, status, reply);
}

std::size_t AbciSocketWire::Connection::TakeFrame(std::string_view unread,
                                                  std::size_t* needed) {
  if (is_broken_) return unread.size();
  SocketFrame frame;
  const absl::StatusOr<bool> is_whole = ::tandem::abci::ReadSocketFrame(
      unread, shared_->parts.max_message_bytes, &frame);
  if (!is_whole.ok()) {
    const bool is_too_large = absl::IsResourceExhausted(is_whole.status());
    Break(is_too_large ? Refuse(Refusal::kMessageTooLarge, is_whole.status())
                       : is_whole.status());
    return unread.size();
  }
  if (!*is_whole) {
    *needed = frame.bytes;
    return 0;
  }
  Queue(Take(frame));
  return frame.bytes;
}

AbciSocketWire::Connection::Asked AbciSocketWire::Connection::Take(
    const SocketFrame& frame) {
  const SocketCall* const kind = ::tandem::abci::SocketCallOf(frame.member);
  if (kind == nullptr) {
    return {.call = nullptr,
            .refused = absl::UnimplementedError(absl::StrCat(
                "a Request with the member ", frame.member,
                " is none of the ABCI that this application speaks"))};
  }
  const rpc::CallGuard& guard = *shared_->parts.guard;
  const rpc::CallGuard::Method& guarded =
      shared_->guarded[static_cast<std::size_t>(kind->method->index)];
  absl::StatusOr<rpc::ActiveCall> active =
      guard.Begin(shared_connection(), guarded);
  if (!active.ok()) return {.call = nullptr, .refused = active.status()};
  connection().CountRequest(frame.message.size());
  absl::Status status = guard.Hold(*active, frame.message.size(), guarded);
  if (!status.ok()) return {.call = nullptr, .refused = std::move(status)};
  auto call = std::make_shared<Call>(
      std::static_pointer_cast<Connection>(shared_from_this()), *kind,
      *std::move(active));
  status = rpc::ParseMessage(frame.message, shared_->parts.max_message_bytes,
                             kind->method->path, call->mutable_request());
  if (!status.ok()) return {.call = nullptr, .refused = std::move(status)};
  return {.call = std::move(call), .refused = absl::OkStatus()};
}

void AbciSocketWire::Connection::Queue(Asked asked) {
  MutexLock lock(mu_);
  if (is_draining_) return;
  asked_.push_back(std::move(asked));
  const std::size_t running = running_ == nullptr ? 0 : 1;
  has_enough_ = asked_.size() + running >= shared_->max_waiting;
}

bool AbciSocketWire::Connection::HasEnough() {
  MutexLock lock(mu_);
  return has_enough_;
}

void AbciSocketWire::Connection::Break(absl::Status why) {
  is_broken_ = true;
  Queue({.call = nullptr, .refused = std::move(why)});
  end_at_ = absl::Now() + kLastWords;
  thread().WakeAt(*this, end_at_);
}

absl::Status AbciSocketWire::Connection::Refuse(Refusal reason,
                                                const absl::Status& why) {
  return shared_->parts.guard->Refuse(reason, connection(), why);
}

std::size_t AbciSocketWire::Connection::RefuseFrame(std::string_view unread) {
  Break(Refuse(Refusal::kOutOfRequestMemory,
               absl::ResourceExhaustedError(absl::StrCat(
                   "the server has no memory left for a request of which ",
                   unread.size(),
                   " bytes have come; call again when others have ended"))));
  EndBatch();
  return unread.size();
}

void AbciSocketWire::Connection::EndBatch() {
  {
    MutexLock lock(mu_);
    if (is_working_ || asked_.empty()) return;
    is_working_ = true;
  }
  Work(false);
}

void AbciSocketWire::Connection::Work(bool on_worker) {
  for (int i = 0; i < kMaxInARow; ++i) {
    Asked next;
    switch (TakeNext(on_worker, &next)) {
      case Next::kTaken:
        break;
      case Next::kNone:
        return;
      case Next::kIsForWorker:
        return Submit();
      case Next::kAwaitsRoom:
        return WhenRoom([self = std::static_pointer_cast<Connection>(
                             shared_from_this())] { self->Submit(); });
    }
    if (next.call == nullptr) {
      SayException(next.refused);
    } else {
      next.call->kind().method->unary(shared_->handler, *next.call);
    }
    MutexLock lock(mu_);
    is_in_handler_ = false;
    // Its answer comes later, and has this go on.
    if (running_ != nullptr) return;
  }
  Submit();
}

AbciSocketWire::Connection::Next AbciSocketWire::Connection::TakeNext(
    bool on_worker, Asked* into) {
  MutexLock lock(mu_);
  MakeRoom();
  if (asked_.empty()) {
    Rest();
    return Next::kNone;
  }
  if (is_full()) return Next::kAwaitsRoom;
  const Call* const call = asked_.front().call.get();
  if (!on_worker && call != nullptr &&
      call->kind().method->run == rpc::Run::kPool) {
    return Next::kIsForWorker;
  }
  *into = std::move(asked_.front());
  asked_.pop_front();
  running_ = into->call;
  is_in_handler_ = true;
  return Next::kTaken;
}

void AbciSocketWire::Connection::MakeRoom() {
  if (!has_enough_ || asked_.size() > shared_->max_waiting / 2) return;
  has_enough_ = false;
  TakeMore();
}

void AbciSocketWire::Connection::Rest() {
  is_working_ = false;
  mu_.NotifyAll();
  if (is_over_) shared_->Forget(*this);
}

void AbciSocketWire::Connection::Answer(Call& call, const absl::Status& status,
                                        MessageLite* reply) {
  if (!status.ok()) {
    SayException(status);
  } else {
    const std::size_t bytes = reply->ByteSizeLong();
    const absl::Status fits =
        rpc::CheckLength(bytes, shared_->parts.max_reply_bytes, *reply,
                         call.kind().method->path);
    if (fits.ok()) {
      Say(call.kind().response_member, *reply, bytes);
    } else {
      SayException(Refuse(Refusal::kReplyTooLarge, fits));
    }
  }
  call.End();
  // Lets go of it at the end.
  std::shared_ptr<Call> answered;
  {
    MutexLock lock(mu_);
    answered.swap(running_);
    if (is_in_handler_) return;
    MakeRoom();
    if (asked_.empty()) return Rest();
  }
  Submit();
}

void AbciSocketWire::Connection::Say(std::uint32_t member,
                                     const MessageLite& message,
                                     std::size_t bytes) {
  connection().CountReply(bytes);
  Write([&](OutputBuffer& out) {
    ::tandem::abci::AppendSocketFrame(out, member, message, bytes);
  });
}

void AbciSocketWire::Connection::SayException(const absl::Status& why) {
  ::tendermint::abci::ResponseException exception;
  exception.set_error(::tandem::abci::ExceptionText(why));
  Say(::tandem::abci::kExceptionMember, exception, exception.ByteSizeLong());
}

void AbciSocketWire::Connection::Submit() {
  submitted_ = std::static_pointer_cast<Connection>(shared_from_this());
  if (shared_->parts.pool->Submit(connection().caller().connection_id, this)
          .ok()) {
    return;
  }
  const std::shared_ptr<Connection> self = std::exchange(submitted_, nullptr);
  MutexLock lock(mu_);
  if (is_over_) return Rest();
  is_refused_by_pool_ = true;
  thread().Run([self] { self->SubmitSoon(); });
}

void AbciSocketWire::Connection::SubmitSoon() {
  {
    MutexLock lock(mu_);
    if (is_over_) return;
  }
  thread().WakeAt(*this, absl::Now() + kRetry);
}

void AbciSocketWire::Connection::Run() {
  const std::shared_ptr<Connection> self = std::exchange(submitted_, nullptr);
  {
    MutexLock lock(mu_);
    ++writing_;
  }
  BeginWrites();
  Work(true);
  EndWrites();
  MutexLock lock(mu_);
  --writing_;
  mu_.NotifyAll();
}

void AbciSocketWire::Connection::OnTime() {
  bool is_refused_by_pool;
  {
    MutexLock lock(mu_);
    is_refused_by_pool = std::exchange(is_refused_by_pool_, false);
  }
  if (is_refused_by_pool) Submit();
  if (!is_broken_) return;
  if (absl::Now() >= end_at_) return End();
  thread().WakeAt(*this, end_at_);
}

void AbciSocketWire::Connection::Stalled() {
  shared_->parts.refusals->Add(
      Refusal::kSlowReader, connection().caller(),
      "connection closed: the client does not read its answers "
      "(write_timeout)");
  EndNow();
}

void AbciSocketWire::Connection::Cancel() {
  std::deque<Asked> dropped;
  std::shared_ptr<Call> running;
  {
    MutexLock lock(mu_);
    is_draining_ = true;
    dropped.swap(asked_);
    running = running_;
  }
  if (running != nullptr) running->Cancel();
}

void AbciSocketWire::Connection::Ended() {
  Cancel();
  MutexLock lock(mu_);
  is_over_ = true;
  // Nobody will try again.
  if (!is_working_ || std::exchange(is_refused_by_pool_, false)) Rest();
}

AbciSocketWire::AbciSocketWire() : shared_(std::make_shared<Shared>()) {}

AbciSocketWire::~AbciSocketWire() = default;

Verdict AbciSocketWire::Judge(std::string_view seen) const {
  std::uint32_t member = 0;
  const Verdict verdict = ::tandem::abci::JudgeSocketFrame(seen, &member);
  const bool is_other = verdict == Verdict::kMine &&
                        ::tandem::abci::SocketCallOf(member) == nullptr;
  return is_other ? Verdict::kNotMine : verdict;
}

absl::Status AbciSocketWire::Start(const rpc::WireParts& parts) {
  shared_->parts = parts;
  shared_->max_waiting = std::min(
      kMaxWaiting, static_cast<std::size_t>(parts.max_calls_per_connection));
  for (const rpc::Served& served : parts.services) {
    if (served.info->name == kService) shared_->handler = served.handler;
  }
  if (shared_->handler == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the ABCI socket protocol is offered, but not the service ", kService));
  }
  for (const SocketCall& call : ::tandem::abci::SocketCalls()) {
    shared_->guarded.push_back(
        parts.guard->For(call.method->service, call.method->name));
  }
  return absl::OkStatus();
}

void AbciSocketWire::Serve(rpc::UniqueFd socket,
                           std::shared_ptr<rpc::ServerConnection> connection) {
  const auto served =
      std::make_shared<Connection>(std::move(socket), std::move(connection),
                                   shared_->parts.poller->Next(), shared_);
  {
    MutexLock lock(shared_->mu);
    if (shared_->is_stopping) return;
    shared_->connections.insert(served);
  }
  const absl::Status begun = served->Begin();
  if (begun.ok()) return;
  shared_->parts.refusals->Add(
      Refusal::kOutOfDescriptors, served->connection().caller(),
      absl::StrCat("connection closed: ", begun.message()));
  shared_->Forget(*served);
}

void AbciSocketWire::Stop(absl::Time deadline) {
  std::vector<std::shared_ptr<Connection>> connections;
  {
    MutexLock lock(shared_->mu);
    shared_->is_stopping = true;
    connections.assign(shared_->connections.begin(),
                       shared_->connections.end());
  }
  for (const auto& connection : connections) connection->Drain();
  for (const auto& connection : connections) connection->AwaitIdle(deadline);
  for (const auto& connection : connections) {
    connection->Cancel();
    connection->End();
  }
  for (const auto& connection : connections) {
    connection->AwaitIdle(deadline + kLastWordsOfStop);
  }
  for (const auto& connection : connections) connection->EndNow();
  // A handler that goes on may answer as long as we wait.
  for (const auto& connection : connections) {
    connection->AwaitIdle(absl::InfiniteFuture());
  }
}

}  // namespace tandem::app

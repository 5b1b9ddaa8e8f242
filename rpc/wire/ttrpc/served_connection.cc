#include "rpc/wire/ttrpc/served_connection.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rpc/wire/message_check.h"

namespace tandem::rpc::ttrpc {

using google::protobuf::MessageLite;

namespace {

// What a frame has besides its message, at most: names and metadata.
constexpr std::size_t kEnvelope = 64 << 10;
// What a plain frame has besides its message, where that is an answer.
constexpr std::size_t kAnswerEnvelope = 8;
// The names in a Request are among its first bytes.
constexpr std::size_t kNames = 512;
// Of one method, for the next calls.
constexpr int kMaxSpares = 256;

// What a client says of a stream, and of a unary call.
constexpr std::uint8_t kClosedFlags = kRemoteClosed | kNoData;
constexpr std::uint8_t kStreamFlags = kRemoteClosed | kRemoteOpen;

absl::Status TooLate(const Target& target) {
  return absl::DeadlineExceededError(
      absl::StrCat(target.method->path, " was not done within its deadline"));
}

}  // namespace

ServedConnection::ServedConnection(UniqueFd socket,
                                   std::shared_ptr<ServerConnection> connection,
                                   PollThread& thread,
                                   std::shared_ptr<MethodTable> table,
                                   std::function<void()> ended)
    : FramedConnection(std::move(socket), std::move(connection), thread),
      table_(std::move(table)),
      ended_(std::move(ended)),
      max_data_(
          std::min(kMaxPlainData, table_->max_message_bytes() + kEnvelope)),
      spares_(table_->size()) {}

ServedConnection::~ServedConnection() {
  RecycleReturned();
  for (Spares& spares : spares_) {
    while (spares.first != nullptr) {
      delete std::exchange(spares.first, spares.first->next_);
    }
  }
}

void ServedConnection::EndWhenIdle() {
  thread().Run([self = SharedSelf()] { self->EndIfIdle(); });
}

void ServedConnection::EndIfIdle() {
  if (table_->is_closed() && connection().calls_in_flight() == 0) End();
}

void ServedConnection::CancelAll(const absl::Status& why) {
  thread().Run([self = SharedSelf(), why] {
    for (const auto& stream : self->Streams()) stream->Fail(why);
    self->CancelCalls();
  });
}

void ServedConnection::CancelCalls() {
  for (const std::uint32_t id : CallIds()) Cancel(id);
}

// Frames.

std::size_t ServedConnection::TakeFrame(std::string_view unread,
                                        std::size_t* needed) {
  *needed = kHeaderBytes;
  if (unread.size() < kHeaderBytes) return 0;
  const FrameHeader header = ParseHeader(unread.data());
  const std::size_t total = kHeaderBytes + header.data_bytes;
  unread.remove_prefix(kHeaderBytes);
  if (header.data_bytes > max_data_) {
    *needed = kHeaderBytes + kNames;
    if (header.type == kRequest && unread.size() < kNames) return 0;
    RefuseFrame(header, unread, [this](const Target& target) {
      return Refuse(
          Refusal::kMessageTooLarge,
          absl::ResourceExhaustedError(absl::StrCat(
              target.method->path, ": a frame is larger than the limit of ",
              max_data_, " bytes")));
    });
    return total;
  }
  *needed = total;
  if (unread.size() < header.data_bytes) return 0;
  const std::string_view data = unread.substr(0, header.data_bytes);
  switch (header.type) {
    case kRequest:
      OnRequest(header, data);
      break;
    case kData:
      OnData(header, data);
      break;
    case kCredit:
      OnCredit(header, data);
      break;
    default:  // As others do: it may be of a later version.
      break;
  }
  return total;
}

void ServedConnection::EndBatch() {
  SubmitQueued();
  now_ = absl::InfinitePast();
  RecycleReturned();
}

std::size_t ServedConnection::RefuseFrame(std::string_view unread) {
  const FrameHeader header = ParseHeader(unread.data());
  RefuseFrame(header, unread.substr(kHeaderBytes), [&](const Target& target) {
    return RefuseForMemory(target, header.data_bytes);
  });
  return kHeaderBytes + header.data_bytes;
}

void ServedConnection::RefuseFrame(
    const FrameHeader& header, std::string_view beginning,
    const std::function<absl::Status(const Target&)>& why) {
  if (header.type == kData) {
    const std::shared_ptr<ServerEnd> stream = FindStream(header.stream);
    if (stream != nullptr) stream->Fail(why(stream->target()));
  }
  if (header.type != kRequest || !TakeId(header.stream)) return;
  Request names;
  ParseNames(beginning, &names);
  const Target* const target = table_->Find(names.service, names.method);
  WriteError(header.stream,
             target == nullptr ? NoSuchMethod(names) : why(*target));
}

bool ServedConnection::TakeId(std::uint32_t id) {
  if (id % 2 == 1 && id > last_id_) {
    last_id_ = id;
    return true;
  }
  WriteError(id, absl::InvalidArgumentError(absl::StrCat(
                     "stream ", id,
                     " cannot begin: ids of a client's streams are odd, and "
                     "larger than those before (the last was ",
                     last_id_, ")")));
  return false;
}

absl::Status ServedConnection::NoSuchMethod(const Request& request) {
  return absl::UnimplementedError(absl::StrCat(
      "/", std::string(request.service), "/", std::string(request.method),
      ": the server has no such method"));
}

void ServedConnection::OnRequest(const FrameHeader& header,
                                 std::string_view data) {
  const std::uint32_t id = header.stream;
  if (!TakeId(id)) return;
  request_.service = request_.method = request_.payload = {};
  request_.timeout_nanos = 0;
  request_.metadata.clear();
  request_.metadata_bytes = 0;
  if (!ParseRequest(data, &request_)) {
    return WriteError(id, absl::InvalidArgumentError(
                              "the frame that begins the call is no Request"));
  }
  if (table_->is_closed()) {
    return WriteError(id, absl::UnavailableError("the server is stopping"));
  }
  const Target* const target = Find(request_);
  if (target == nullptr) return WriteError(id, NoSuchMethod(request_));
  const bool is_unary = target->method->shape == Shape::kUnary;
  if (is_unary != ((header.flags & kStreamFlags) == 0)) {
    return WriteError(
        id,
        absl::InvalidArgumentError(absl::StrCat(
            target->method->path, is_unary ? " does not stream" : " streams",
            ", and was called otherwise; client and server may be built "
            "from different .proto files")));
  }
  absl::StatusOr<ActiveCall> active =
      table_->guard().Begin(shared_connection(), target->guarded);
  if (!active.ok()) return WriteError(id, active.status());
  if (request_.metadata_bytes > kMaxServedMetadata) {
    return WriteError(id, RefuseMetadata(*target, request_.metadata_bytes));
  }
  if (is_unary) {
    BeginUnary(*target, *std::move(active), id);
  } else {
    BeginStream(*target, *std::move(active), header);
  }
}

// The method that was asked for last is asked for again, most often.
const Target* ServedConnection::Find(const Request& request) {
  if (last_target_ == nullptr || last_target_->method->name != request.method ||
      last_target_->method->service != request.service) {
    last_target_ = table_->Find(request.service, request.method);
  }
  return last_target_;
}

absl::Time ServedConnection::DeadlineOf(const Request& request) {
  if (request.timeout_nanos == 0) return absl::InfiniteFuture();
  if (now_ == absl::InfinitePast()) now_ = absl::Now();
  return now_ + absl::Nanoseconds(request.timeout_nanos);
}

void ServedConnection::WatchDeadline(absl::Time deadline) {
  if (deadline >= next_deadline_) return;
  next_deadline_ = deadline;
  thread().WakeAt(*this, deadline);
}

void ServedConnection::OnTime() {
  const absl::Time now = absl::Now();
  next_deadline_ = absl::InfiniteFuture();
  RecycleReturned();
  for (const std::uint32_t id : CallIds()) {
    const auto found = calls_.find(id);
    if (found == calls_.end()) continue;
    UnaryCall& call = *found->second;
    if (call.deadline() > now) {
      WatchDeadline(call.deadline());
    } else if (!call.is_cancelled()) {
      call.CancelLate();
    }
  }
  for (const auto& stream : Streams()) {
    if (stream->deadline() > now) {
      WatchDeadline(stream->deadline());
    } else {
      stream->Fail(TooLate(stream->target()));
    }
  }
}

// Unary calls.

void ServedConnection::BeginUnary(const Target& target, ActiveCall active,
                                  std::uint32_t id) {
  UnaryCall* const call = TakeSpare(target, std::move(active));
  call->Begin(SharedSelf(), id, DeadlineOf(request_), request_.metadata);
  const absl::Status taken = call->TakePayload(request_.payload);
  if (!taken.ok()) return call->Finish(taken, nullptr);
  if (target.is_hello) {
    Agree(static_cast<const v1::HelloRequest&>(call->request()));
  }
  WorkerPool* const pool = table_->PoolFor(target);
  if (pool == nullptr) {
    inline_ = call;
    call->Run();
    if (std::exchange(inline_, nullptr) == nullptr) return;
  }
  calls_.emplace(id, call);
  WatchDeadline(call->deadline());
  if (pool != nullptr) queued_.push_back(call);
}

// All calls that one recv(2) brought at once.
void ServedConnection::SubmitQueued() {
  if (queued_.empty()) return;
  std::size_t count = 0;
  absl::Status submitted = table_->pool().Submit(
      connection().caller().connection_id, queued_, &count);
  for (; count < queued_.size(); ++count) {
    static_cast<UnaryCall*>(queued_[count])
        ->Finish(CountBusy(submitted), nullptr);
  }
  queued_.clear();
}

void ServedConnection::Answer(const UnaryCall& call, const absl::Status& status,
                              MessageLite* reply) {
  absl::Status end = status;
  if (call.was_late()) {
    end = TooLate(call.target());
  } else if (call.is_cancelled()) {
    // Whatever the handler says now. A client that has not cancelled it finds
    // the words.
    end = absl::CancelledError();
  }
  std::size_t bytes = 0;
  if (reply != nullptr && end.ok()) {
    if (call.target().is_hello) {
      TakeUp(static_cast<const v1::HelloRequest&>(call.request()),
             static_cast<v1::HelloReply&>(*reply));
    }
    bytes = reply->ByteSizeLong();
    end = CheckReply(call.target(), bytes, *reply);
  }
  if (!end.ok()) {
    return Write([&](OutputBuffer& out) { AppendError(out, call.id(), end); });
  }
  connection().CountReply(bytes);
  Write([&](OutputBuffer& out) {
    AppendReply(out, call.id(), {reply, bytes});
  });
}

void ServedConnection::TakeBack(UnaryCall& call) {
  if (thread().is_current()) {
    Recycle(&call);
  } else {
    call.next_ = returned_.load(std::memory_order_relaxed);
    while (!returned_.compare_exchange_weak(call.next_, &call,
                                            std::memory_order_seq_cst,
                                            std::memory_order_relaxed)) {
    }
  }
  if (awaits_calls_.load()) return LeaveSoon();
  EndIfIdle();
}

void ServedConnection::LeaveSoon() {
  MutexLock lock(mu_);
  if (has_left_) return;
  thread().Run([self = SharedSelf()] { self->LeaveIfDone(); });
}

void ServedConnection::LeaveIfDone() {
  RecycleReturned();
  if (!calls_.empty()) return;
  {
    MutexLock lock(mu_);
    if (std::exchange(has_left_, true)) return;
  }
  ended_();
}

void ServedConnection::RecycleReturned() {
  if (returned_.load() == nullptr) return;
  UnaryCall* call = returned_.exchange(nullptr, std::memory_order_acquire);
  while (call != nullptr) Recycle(std::exchange(call, call->next_));
}

void ServedConnection::Recycle(UnaryCall* call) {
  if (inline_ == call) {
    inline_ = nullptr;
  } else {
    calls_.erase(call->id());
  }
  Spares& spares = spares_[call->target().index];
  if (call->is_large() || spares.count >= kMaxSpares) {
    delete call;
    return;
  }
  call->next_ = std::exchange(spares.first, call);
  ++spares.count;
}

UnaryCall* ServedConnection::TakeSpare(const Target& target,
                                       ActiveCall active) {
  Spares& spares = spares_[target.index];
  if (spares.first == nullptr) return new UnaryCall(target, std::move(active));
  UnaryCall* const call = std::exchange(spares.first, spares.first->next_);
  --spares.count;
  call->BeginAgain(std::move(active));
  return call;
}

std::vector<std::uint32_t> ServedConnection::CallIds() const {
  std::vector<std::uint32_t> ids;
  for (const auto& [id, call] : calls_) ids.push_back(id);
  return ids;
}

void ServedConnection::Cancel(std::uint32_t id) {
  const auto found = calls_.find(id);
  if (found != calls_.end()) found->second->Cancel();
}

absl::Status ServedConnection::Submit(WorkerPool& pool, Job& job) {
  // Calls are begun in order.
  SubmitQueued();
  return CountBusy(pool.Submit(connection().caller().connection_id, &job));
}

absl::Status ServedConnection::CountBusy(absl::Status submitted) {
  if (!absl::IsResourceExhausted(submitted)) return submitted;
  return Refuse(Refusal::kTooManyQueuedCalls, std::move(submitted));
}

// Limits.

absl::Status ServedConnection::Refuse(Refusal reason, absl::Status why) {
  // The guard is there until the connection is over.
  MutexLock lock(mu_);
  if (is_over_) return why;
  return table_->guard().Refuse(reason, connection(), std::move(why));
}

absl::Status ServedConnection::CountRequest(const Target& target,
                                            ActiveCall& active,
                                            std::size_t bytes,
                                            const MessageLite& into) {
  connection().CountRequest(bytes);
  absl::Status fits = CheckLength(bytes, table_->max_message_bytes(), into,
                                  target.method->path);
  if (!fits.ok()) return Refuse(Refusal::kMessageTooLarge, std::move(fits));
  if (active.Hold(bytes) == nullptr) return absl::OkStatus();
  MutexLock lock(mu_);
  if (is_over_) return absl::CancelledError("the client has gone");
  return table_->guard().Hold(active, bytes, target.guarded);
}

absl::Status ServedConnection::RefuseForMemory(const Target& target,
                                               std::size_t bytes) {
  return Refuse(
      Refusal::kOutOfRequestMemory,
      absl::ResourceExhaustedError(absl::StrCat(
          target.method->path, ": a message of ", bytes,
          " bytes is more than the server has left for requests in flight (its "
          "max_request_memory); call again when some have ended")));
}

absl::Status ServedConnection::RefuseMetadata(const Target& target,
                                              std::size_t bytes) {
  return Refuse(Refusal::kMessageTooLarge,
                absl::ResourceExhaustedError(absl::StrCat(
                    target.method->path, ": the metadata counts ", bytes,
                    " bytes (", kMetadataEntryBytes,
                    " of each entry), and the server takes no more than ",
                    kMaxServedMetadata)));
}

std::size_t ServedConnection::max_reply_bytes() const {
  const std::size_t client_takes =
      client_takes_.load(std::memory_order_relaxed);
  return std::min(
      table_->max_reply_bytes(),
      client_takes > 0 ? client_takes : kMaxPlainData - kAnswerEnvelope);
}

absl::Status ServedConnection::CheckReply(const Target& target,
                                          std::size_t bytes,
                                          const MessageLite& reply) {
  absl::Status fits =
      CheckLength(bytes, max_reply_bytes(), reply, target.method->path);
  if (fits.ok()) return fits;
  return Refuse(Refusal::kReplyTooLarge, std::move(fits));
}

absl::Status ServedConnection::CheckMessage(const Target& target,
                                            std::size_t bytes,
                                            const MessageLite& message) {
  const absl::Status fits = CheckReply(target, bytes, message);
  return fits.ok() ? fits : absl::InvalidArgumentError(fits.message());
}

// What Hello agrees on.

void ServedConnection::Agree(const v1::HelloRequest& hello) {
  if (!hello.has_ttrpc()) return;
  max_data_ = table_->max_message_bytes() + kEnvelope;
  client_takes_ = hello.ttrpc().max_message_bytes();
  can_cancel_ = hello.ttrpc().cancel();
  has_credit_ = hello.ttrpc().credit();
}

void ServedConnection::TakeUp(const v1::HelloRequest& hello,
                              v1::HelloReply& reply) const {
  if (!hello.has_ttrpc()) return;
  v1::TtrpcExtensions& ours = *reply.mutable_ttrpc();
  ours.set_max_message_bytes(table_->max_message_bytes());
  ours.set_cancel(hello.ttrpc().cancel());
  ours.set_credit(hello.ttrpc().credit());
}

// Streams.

void ServedConnection::BeginStream(const Target& target, ActiveCall active,
                                   const FrameHeader& header) {
  const auto stream = std::make_shared<ServerEnd>(
      target, std::move(active), SharedSelf(), header.stream, has_credit_);
  {
    MutexLock lock(mu_);
    streams_.emplace(header.stream, stream);
  }
  if ((header.flags & kRemoteClosed) != 0) stream->EndInput();
  const absl::Time deadline = DeadlineOf(request_);
  WatchDeadline(deadline);
  stream->Begin(request_, deadline);
}

void ServedConnection::OnData(const FrameHeader& header,
                              std::string_view data) {
  const std::uint32_t id = header.stream;
  const std::shared_ptr<ServerEnd> stream = FindStream(id);
  if (stream == nullptr) {
    if (id % 2 == 0 || id > last_id_) {
      WriteError(id, absl::InvalidArgumentError(absl::StrCat(
                         "there is no stream ", id, " to send data on")));
    } else if (can_cancel_ && header.flags == kClosedFlags) {
      Cancel(id);
    }
    return;
  }
  if (stream->is_input_over()) {
    if (can_cancel_ && header.flags == kClosedFlags) return stream->Abandon();
    return stream->Fail(absl::InvalidArgumentError(absl::StrCat(
        stream->target().method->path,
        ": the client sent data after it had said that there is no more")));
  }
  if ((header.flags & kNoData) == 0) stream->Push(data);
  if ((header.flags & kRemoteClosed) != 0) stream->EndInput();
}

void ServedConnection::OnCredit(const FrameHeader& header,
                                std::string_view data) {
  if (!has_credit_) return;
  const std::shared_ptr<ServerEnd> stream = FindStream(header.stream);
  if (stream != nullptr) stream->Grant(ParseCredit(data));
}

std::shared_ptr<ServerEnd> ServedConnection::FindStream(
    std::uint32_t id) const {
  MutexLock lock(mu_);
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<ServerEnd>> ServedConnection::Streams() const {
  std::vector<std::shared_ptr<ServerEnd>> streams;
  MutexLock lock(mu_);
  for (const auto& [id, stream] : streams_) streams.push_back(stream);
  return streams;
}

void ServedConnection::Forget(std::uint32_t id) {
  {
    MutexLock lock(mu_);
    streams_.erase(id);
  }
  EndIfIdle();
}

void ServedConnection::WriteStream(const OutputBuffer& frames) {
  WriteInOrder([&](OutputBuffer& out) { out.Append(frames.unsent()); });
}

void ServedConnection::WriteGrant(std::uint32_t id, std::uint32_t messages) {
  WriteInOrder([&](OutputBuffer& out) { AppendCredit(out, id, messages); });
}

void ServedConnection::WriteError(std::uint32_t id, const absl::Status& error) {
  WriteInOrder([&](OutputBuffer& out) { AppendError(out, id, error); });
}

void ServedConnection::AwaitRoom(std::weak_ptr<ServerEnd> stream) {
  WhenRoom([stream = std::move(stream)] {
    if (const std::shared_ptr<ServerEnd> waiting = stream.lock()) {
      waiting->OnRoom();
    }
  });
}

void ServedConnection::EndSoon(std::shared_ptr<ServerEnd> stream,
                               void (*count)(ServedConnection&, const Target&),
                               absl::Status why) {
  thread().Run([self = SharedSelf(), stream = std::move(stream), count,
                why = std::move(why)] {
    {
      MutexLock lock(self->mu_);
      if (self->is_over_) return;
    }
    count(*self, stream->target());
    stream->Fail(why);
  });
}

// The end.

void ServedConnection::Stalled() {
  for (const auto& stream : Streams()) {
    table_->guard().CountStalled(connection(), stream->target().guarded);
    stream->Fail(absl::CancelledError("the client does not read its answer"));
  }
  for (const std::uint32_t id : CallIds()) {
    const auto found = calls_.find(id);
    if (found == calls_.end() || found->second->is_cancelled()) continue;
    table_->guard().CountStalled(connection(), found->second->target().guarded);
    Cancel(id);
  }
}

void ServedConnection::Ended() {
  {
    MutexLock lock(mu_);
    is_over_ = true;
  }
  for (const auto& stream : Streams()) stream->Abandon();
  CancelCalls();
  // Who answers after this sees it, or is seen.
  awaits_calls_ = true;
  LeaveIfDone();
}

}  // namespace tandem::rpc::ttrpc

#include "rpc/wire/ttrpc/client_connection.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rpc/base/status_macros.h"
#include "rpc/client/failed_stream.h"
#include "rpc/wire/message_check.h"
#include "rpc/wire/ttrpc/client_end.h"

namespace tandem::rpc::ttrpc {
namespace {

using google::protobuf::MessageLite;

// Longer timeouts count as none.
constexpr absl::Duration kLongestTimeout = absl::Hours(24 * 365);
// What a frame has at most around its message: names, metadata, an error.
constexpr std::size_t kEnvelopeBytes = 256 << 10;
// The largest message for a peer of another maker; metadata is at most 4 KiB.
constexpr std::size_t kMaxPlainMessage = kMaxPlainData - (8 << 10);
// Of requests the server has not read; then it reads too slowly for more.
constexpr std::size_t kMaxUnsentRequests = 64 << 20;
// How long a caller blocks in recv(2), which so needs no poll(2) before it.
constexpr absl::Duration kOneReceive = absl::Milliseconds(250);
// The thread looks for deadlines that have passed no more often.
constexpr absl::Duration kOneLook = absl::Milliseconds(1);
// Ids only grow. Long before they end, it is time for another connection.
constexpr std::uint32_t kLastId = 0xffffff00;
constexpr std::uint32_t kManyIds = 0xf0000000;

std::int64_t TimeoutNanos(absl::Duration timeout) {
  if (timeout > kLongestTimeout) return 0;
  return std::max<std::int64_t>(absl::ToInt64Nanoseconds(timeout), 1);
}

// Rounded up, or the last millisecond would be spent spinning.
int PollTimeout(absl::Duration left) {
  return static_cast<int>(absl::ToInt64Milliseconds(
      absl::Ceil(std::clamp(left, absl::ZeroDuration(), absl::Hours(1)),
                 absl::Milliseconds(1))));
}

}  // namespace

ClientConnection::ClientConnection(UniqueFd socket, UniqueFd wake,
                                   ClientOptions options)
    : options_(std::move(options)),
      socket_(std::move(socket)),
      wake_(std::move(wake)),
      server_(options_.peer, "ttrpc"),
      writer_(socket_.get(), BatchWriter::Batch::kInOrder),
      max_sent_bytes_(std::min(options_.max_message_bytes, kMaxPlainMessage)) {}

// Calls.

void ClientConnection::Start(ClientCall* call, const MessageLite& request,
                             const CallOptions& options) {
  const Method& method = *call->method;
  call->status = CheckStart(method, &request, options);
  if (!call->status.ok()) return call->done(call);
  const absl::Duration timeout = options.timeout.value_or(kDefaultCallTimeout);
  if (timeout <= absl::ZeroDuration()) {
    call->status = server_.TooLate(method, timeout);
    return call->done(call);
  }
  // Whoever cancels does not wake a caller who reads.
  BlockingCall* const blocking =
      options.cancellation.has_value() ? nullptr : call->blocking;
  const absl::Time deadline = absl::Now() + timeout;
  const std::uint32_t id = Begin({.call = call,
                                  .method = &method,
                                  .deadline = deadline,
                                  .timeout = timeout,
                                  .is_blocking = blocking != nullptr},
                                 0, &request, options);
  if (id == 0) {
    call->status = server_.Closed(method);
    return call->done(call);
  }
  if (blocking != nullptr) {
    blocking->WaitAt(shared_from_this(), id, deadline);
  }
  WatchCancellation(id, options.cancellation);
}

std::shared_ptr<ClientStream> ClientConnection::Open(
    const Method& method, const MessageLite* request,
    const CallOptions& options) {
  absl::Status status = CheckStart(method, request, options);
  if (!status.ok()) return FailedStream(std::move(status));
  const absl::Duration timeout =
      options.timeout.value_or(absl::InfiniteDuration());
  if (timeout <= absl::ZeroDuration()) {
    return FailedStream(server_.TooLate(method, timeout));
  }
  auto stream = std::make_shared<ClientEnd>(shared_from_this(), method,
                                            /*sends=*/request == nullptr);
  const std::uint32_t id =
      Begin({.stream = stream,
             .method = &method,
             .deadline = absl::Now() + timeout,
             .timeout = timeout},
            request == nullptr ? kRemoteOpen : kRemoteClosed, request, options);
  if (id == 0) return FailedStream(server_.Closed(method));
  WatchCancellation(id, options.cancellation);
  return stream;
}

absl::Status ClientConnection::CheckStart(const Method& method,
                                          const MessageLite* request,
                                          const CallOptions& options) const {
  if (options.cancellation.has_value() &&
      options.cancellation->is_cancelled()) {
    return CancelledByCaller(method);
  }
  if (is_over_) return server_.Closed(method);
  if (!options.metadata.empty()) {
    TANDEM_RETURN_IF_ERROR(CheckMetadata(options.metadata));
  }
  if (writer_.unsent() >= kMaxUnsentRequests) {
    return absl::ResourceExhaustedError(absl::StrCat(
        method.path, ": ", server_.peer(), " reads too slowly: ",
        writer_.unsent(), " bytes of earlier requests are unsent"));
  }
  if (request == nullptr) return absl::OkStatus();
  return CheckSize(*request, max_sent_bytes_, method.path);
}

std::uint32_t ClientConnection::Begin(Pending pending, std::uint8_t flags,
                                      const MessageLite* request,
                                      const CallOptions& options) {
  const Request head = {.service = pending.method->service,
                        .method = pending.method->name,
                        .payload = {},
                        .timeout_nanos = TimeoutNanos(pending.timeout),
                        .metadata = options.metadata};
  const Payload payload = {
      .message = request,
      .bytes = request == nullptr
                   ? 0
                   : static_cast<std::size_t>(request->ByteSizeLong())};
  std::uint32_t id = 0;
  Write([&](OutputBuffer& out) {
    id = Add(pending);
    if (id != 0) AppendRequest(out, id, flags, head, payload);
  });
  return id;
}

std::uint32_t ClientConnection::Add(Pending& pending) {
  MutexLock lock(mu_);
  if (is_over_ || next_id_ >= kLastId) return 0;
  const std::uint32_t id = next_id_;
  next_id_ += 2;
  if (next_id_ >= kManyIds) is_refused_ = true;
  if (pending.stream != nullptr) pending.stream->set_id(id);
  if (!pending.is_blocking) {
    ++for_thread_;
    if (turn_ == Turn::kNobody) {
      turn_ = Turn::kThread;
      WakeThread();
    }
    if (pending.deadline < next_deadline_) {
      next_deadline_ = pending.deadline;
      WakeThread();
    }
  }
  calls_.emplace(id, std::move(pending));
  return id;
}

void ClientConnection::WatchCancellation(
    std::uint32_t id, const std::optional<Cancellation>& cancellation) {
  if (!cancellation.has_value()) return;
  Cancellation kept = *cancellation;
  const std::uint64_t key = kept.Add([weak = weak_from_this(), id] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    std::optional<Pending> pending = self->Take(id);
    if (!pending.has_value()) return;
    const bool is_half_open =
        pending->stream != nullptr && pending->stream->is_half_open();
    absl::Status status = CancelledByCaller(*pending->method);
    self->End(*std::move(pending), std::move(status),
              /*can_be_read=*/false);
    self->SendCancel(id, is_half_open);
  });
  {
    MutexLock lock(mu_);
    const auto it = calls_.find(id);
    if (it != calls_.end()) {
      it->second.cancellation = std::move(kept);
      it->second.cancellation_key = key;
      return;
    }
  }
  kept.Remove(key);
}

std::optional<ClientConnection::Pending> ClientConnection::Take(
    std::uint32_t id) {
  MutexLock lock(mu_);
  const auto it = calls_.find(id);
  if (it == calls_.end()) return std::nullopt;
  return Extract(it);
}

ClientConnection::Pending ClientConnection::Extract(PendingCalls::iterator it) {
  Pending pending = std::move(it->second);
  calls_.erase(it);
  if (pending.is_blocking) {
    SetTaken(*pending.call->blocking);
  } else if (--for_thread_ == 0) {
    // It passes the turn on once nothing is left to read for.
    WakeThread();
  }
  return pending;
}

void ClientConnection::End(Pending pending, absl::Status status,
                           bool can_be_read) {
  if (pending.cancellation.has_value()) {
    pending.cancellation->Remove(pending.cancellation_key);
  }
  if (pending.stream != nullptr) {
    return pending.stream->End(status, can_be_read);
  }
  pending.call->status = std::move(status);
  pending.call->done(pending.call);
}

void ClientConnection::GiveUp(std::uint32_t id, const absl::Status& status) {
  std::optional<Pending> pending = Take(id);
  if (!pending.has_value()) return;
  const bool is_half_open =
      pending->stream != nullptr && pending->stream->is_half_open();
  End(*std::move(pending), status, /*can_be_read=*/false);
  SendCancel(id, is_half_open);
}

void ClientConnection::SendCancel(std::uint32_t id, bool is_half_open) {
  {
    MutexLock lock(mu_);
    if (cancel_ == Extension::kOffered) {
      early_cancels_.push_back(id);
      if (is_half_open) early_cancels_.push_back(id);
      return;
    }
  }
  if (cancel_ != Extension::kAgreed) return;
  Write([&](OutputBuffer& out) {
    // The first says only that the client sends no more.
    if (is_half_open) AppendClosed(out, id);
    AppendClosed(out, id);
  });
}

absl::Status ClientConnection::Explain(const Method& method,
                                       absl::Status status, absl::Time deadline,
                                       absl::Duration timeout) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      is_refused_ = true;
      return status;
    case absl::StatusCode::kDeadlineExceeded:
      // The server's clock was first.
      if (absl::Now() < deadline) return status;
      return server_.TooLate(method, timeout);
    case absl::StatusCode::kUnimplemented:
      // A handler always says something.
      return status.message().empty() ? server_.MissingMethod(method) : status;
    case absl::StatusCode::kCancelled:
      // The same; and we have not.
      if (!status.message().empty()) return status;
      is_refused_ = true;
      return server_.Stopping(method);
    default:
      return status;
  }
}

// Hello.

void ClientConnection::Offer(v1::HelloRequest& hello) {
  v1::TtrpcExtensions& offered = *hello.mutable_ttrpc();
  offered.set_max_message_bytes(options_.max_message_bytes);
  offered.set_cancel(true);
  offered.set_credit(true);
  MutexLock lock(mu_);
  cancel_ = credit_ = Extension::kOffered;
  max_sent_bytes_ = options_.max_message_bytes;
}

void ClientConnection::set_hello(const absl::StatusOr<v1::HelloReply>& hello) {
  v1::TtrpcExtensions agreed;
  if (hello.ok()) {
    server_.set_hello(*hello);
    agreed = hello->ttrpc();
  }
  std::vector<std::uint32_t> cancels;
  std::vector<std::shared_ptr<ClientEnd>> streams;
  {
    MutexLock lock(mu_);
    cancel_ = agreed.cancel() ? Extension::kAgreed : Extension::kNone;
    credit_ = agreed.credit() ? Extension::kAgreed : Extension::kNone;
    max_sent_bytes_ = std::min<std::size_t>(options_.max_message_bytes,
                                            agreed.max_message_bytes() > 0
                                                ? agreed.max_message_bytes()
                                                : kMaxPlainMessage);
    cancels.swap(early_cancels_);
    for (const auto& [id, pending] : calls_) {
      if (pending.stream != nullptr) streams.push_back(pending.stream);
    }
  }
  if (agreed.cancel() && !cancels.empty()) {
    Write([&](OutputBuffer& out) {
      for (const std::uint32_t id : cancels) AppendClosed(out, id);
    });
  }
  for (const auto& stream : streams) stream->OnAgreement();
}

// The connection.

bool ClientConnection::is_over() const {
  if (is_over_ || has_peer_left_) return true;
  // Whoever reads will see.
  if (turn_ != Turn::kNobody) return false;
  return WaitOver(absl::ZeroDuration());
}

bool ClientConnection::WaitOver(absl::Duration timeout) const {
  const absl::Time end = absl::Now() + timeout;
  while (!is_over_ && !has_peer_left_) {
    pollfd ended = {socket_.get(), POLLRDHUP, 0};
    const absl::Duration left = end - absl::Now();
    if (::poll(&ended, 1, PollTimeout(left)) > 0) {
      has_peer_left_ = true;
    } else if (left <= absl::ZeroDuration()) {
      return false;
    }
  }
  return true;
}

bool ClientConnection::has_calls() const {
  MutexLock lock(mu_);
  return !calls_.empty();
}

void ClientConnection::Close() {
  SetOver("it was closed");
  ::shutdown(socket_.get(), SHUT_RDWR);
}

void ClientConnection::SetOver(std::string_view why) {
  MutexLock lock(mu_);
  if (is_over_) return;
  why_over_ = std::string(why);
  is_over_ = true;
  WakeThread();
}

// The turn.

void ClientConnection::Wait(BlockingCall& call, std::uint32_t id,
                            absl::Time deadline) {
  const bool is_thread = is_on_thread();
  do {
    if (!Claim(call) && !AwaitTurn(call, deadline)) continue;
    ReadFor(call, deadline, is_thread ? Reader::kCallback : Reader::kCaller);
    MutexLock lock(mu_);
    if (turn_ == Turn::kCaller) PassTurn();
  } while (!call.is_over() && !is_over_ && absl::Now() < deadline);
  if (call.is_over() || is_over_) return;  // If over, the thread ends it.
  std::optional<Pending> pending = Take(id);
  if (!pending.has_value()) return;
  const absl::Status late = server_.TooLate(*pending->method, pending->timeout);
  End(*std::move(pending), late, /*can_be_read=*/false);
  SendCancel(id, /*is_half_open=*/false);
}

bool ClientConnection::Claim(BlockingCall& call) {
  MutexLock lock(mu_);
  if (call.entry().is_taken) return false;
  // Within a callback the thread reads on.
  if (turn_ == Turn::kThread && is_on_thread()) return true;
  if (turn_ == Turn::kNobody) {
    turn_ = Turn::kCaller;
    return true;
  }
  List(call);
  return false;
}

bool ClientConnection::AwaitTurn(BlockingCall& call, absl::Time deadline) {
  call.AwaitTurn(deadline);
  // Who ended the call, or gave it the turn, has taken it from the list.
  if (call.is_over()) return false;
  if (call.TakeTurn()) return true;
  MutexLock lock(mu_);
  Unlist(call);
  return call.TakeTurn();
}

void ClientConnection::List(BlockingCall& call) {
  BlockingCall::Place::Entry& entry = call.entry();
  entry.is_listed = true;
  entry.behind = last_waiting_;
  if (last_waiting_ != nullptr) last_waiting_->entry().before = &call;
  last_waiting_ = &call;
  if (is_on_thread()) waiting_thread_ = &call;
}

void ClientConnection::Unlist(BlockingCall& call) {
  BlockingCall::Place::Entry& entry = call.entry();
  if (!std::exchange(entry.is_listed, false)) return;
  if (entry.behind != nullptr) entry.behind->entry().before = entry.before;
  (entry.before != nullptr ? entry.before->entry().behind : last_waiting_) =
      entry.behind;
  entry.before = entry.behind = nullptr;
  if (waiting_thread_ == &call) waiting_thread_ = nullptr;
}

void ClientConnection::SetTaken(BlockingCall& call) {
  Unlist(call);
  call.entry().is_taken = true;
}

void ClientConnection::PassTurn() {
  if (for_thread_ > 0 || !aside_.empty() || is_over_) {
    turn_ = Turn::kThread;
    if (waiting_thread_ != nullptr) return GiveTurn(*waiting_thread_);
    return WakeThread();
  }
  if (last_waiting_ == nullptr) {
    turn_ = Turn::kNobody;
    return;
  }
  turn_ = Turn::kCaller;
  // Its answer comes last, so the turn stays with it for longest.
  GiveTurn(*last_waiting_);
}

void ClientConnection::GiveTurn(BlockingCall& call) {
  Unlist(call);
  call.GiveTurn();
}

void ClientConnection::WakeThread() {
  if (is_on_thread()) return;
  if (is_polling_) {
    is_polling_ = false;
    // Fails only when it is about to wake already.
    (void)::eventfd_write(wake_.get(), 1);
  } else {
    mu_.NotifyAll();
  }
}

// Reading.

void ClientConnection::ReadFor(const BlockingCall& call, absl::Time deadline,
                               Reader reader) {
  // What a callback wrote before it blocks must not wait for its end.
  if (reader == Reader::kCallback &&
      writer_.EndBatch() == BatchWriter::Room::kResume) {
    ResumeSoon();
  }
  while (HandleBatch(reader) && !call.is_over() && !is_over_) {
    if (!ReceiveUntil(deadline)) return;
    if (absl::Now() >= deadline) {
      HandleBatch(reader);
      return;
    }
  }
}

bool ClientConnection::HandleBatch(Reader reader) {
  // Within a callback anything may happen that lasts.
  if (reader != Reader::kCaller) return HandleFrames(reader);
  // Who has an answer may write the next request before all have theirs.
  writer_.Hold();
  const bool is_done = HandleFrames(reader);
  if (writer_.Release() == BatchWriter::Room::kResume) ResumeSoon();
  return is_done;
}

bool ClientConnection::HandleFrames(Reader reader) {
  for (;;) {
    const std::string_view unread = in_.unread();
    if (unread.size() < kHeaderBytes) {
      in_.Expect(kHeaderBytes);
      return true;
    }
    const FrameHeader header = ParseHeader(unread.data());
    if (header.stream == 0) {
      {
        MutexLock lock(mu_);
        speaks_ttrpc_ = false;
      }
      SetOver("its first bytes are of another protocol, such as gRPC");
      return false;
    }
    const std::size_t bytes = kHeaderBytes + header.data_bytes;
    const bool is_oversize = IsOversize(header);
    if (!is_oversize && unread.size() < bytes) {
      in_.Expect(bytes);
      return true;
    }
    const bool is_for_thread = reader != Reader::kThread && for_thread_ > 0 &&
                               IsForThread(header.stream);
    if (is_for_thread && reader == Reader::kCaller) return false;
    // What was consumed stays where it is until more is received.
    in_.Consume(bytes);
    if (is_for_thread) {
      aside_.emplace_back(unread.substr(0, is_oversize ? kHeaderBytes : bytes));
    } else {
      HandleFrame(header, is_oversize
                              ? std::string_view()
                              : unread.substr(kHeaderBytes, header.data_bytes));
    }
  }
}

bool ClientConnection::IsForThread(std::uint32_t id) const {
  MutexLock lock(mu_);
  const auto it = calls_.find(id);
  return it != calls_.end() && !it->second.is_blocking;
}

bool ClientConnection::IsOversize(const FrameHeader& header) const {
  return header.data_bytes > options_.max_message_bytes + kEnvelopeBytes;
}

void ClientConnection::HandleFrame(const FrameHeader& header,
                                   std::string_view data) {
  server_.SetAnswered();
  if (IsOversize(header)) return HandleOversize(header);
  switch (header.type) {
    case kResponse:
      return HandleResponse(header.stream, data);
    case kData:
      return HandleData(header, data);
    case kCredit:
      if (const auto stream = FindStream(header.stream)) {
        stream->OnCredit(ParseCredit(data));
      }
      return;
    default:  // Of a version to come.
      return;
  }
}

void ClientConnection::HandleResponse(std::uint32_t id, std::string_view data) {
  std::optional<Pending> pending = Take(id);
  // Its caller has given it up.
  if (!pending.has_value()) return;
  absl::Status status = Answer(*pending, data);
  End(*std::move(pending), std::move(status), /*can_be_read=*/true);
}

absl::Status ClientConnection::Answer(const Pending& pending,
                                      std::string_view data) {
  const Method& method = *pending.method;
  Response response;
  if (!ParseResponse(data, &response)) {
    return absl::InternalError(absl::StrCat(
        method.path, ": ", server_.peer(), " answered with what is no answer"));
  }
  if (!response.status.ok()) {
    return Explain(method, std::move(response.status), pending.deadline,
                   pending.timeout);
  }
  if (pending.stream == nullptr) {
    return FitsClient(ParseMessage(response.payload, options_.max_message_bytes,
                                   method.path, pending.call->reply));
  }
  if (method.shape == Shape::kClientStream) {
    pending.stream->OnMessage(response.payload);
  }
  return absl::OkStatus();
}

void ClientConnection::HandleData(const FrameHeader& header,
                                  std::string_view data) {
  const std::shared_ptr<ClientEnd> stream = FindStream(header.stream);
  if (stream == nullptr) return;
  if ((header.flags & kNoData) == 0) stream->OnMessage(data);
  if ((header.flags & kRemoteClosed) == 0) return;
  std::optional<Pending> pending = Take(header.stream);
  if (!pending.has_value()) return;
  End(*std::move(pending), absl::OkStatus(), /*can_be_read=*/true);
}

void ClientConnection::HandleOversize(const FrameHeader& header) {
  std::optional<Pending> pending = Take(header.stream);
  if (!pending.has_value()) return;
  const Method& method = *pending->method;
  absl::Status status =
      CheckLength(header.data_bytes, options_.max_message_bytes, *method.reply,
                  method.path);
  const bool is_half_open =
      pending->stream != nullptr && pending->stream->is_half_open();
  End(*std::move(pending), std::move(status), /*can_be_read=*/true);
  if (header.type == kData) SendCancel(header.stream, is_half_open);
}

std::shared_ptr<ClientEnd> ClientConnection::FindStream(
    std::uint32_t id) const {
  MutexLock lock(mu_);
  const auto it = calls_.find(id);
  return it == calls_.end() ? nullptr : it->second.stream;
}

bool ClientConnection::ReceiveUntil(absl::Time deadline) {
  if (options_.spin > absl::ZeroDuration()) {
    const ssize_t received = TryReceive();
    if (received >= 0) return !IsEnd(received);
  }
  const absl::Duration left = deadline - absl::Now();
  if (left > kOneReceive) {
    if (!std::exchange(has_receive_timeout_, true)) {
      const timeval timeout = absl::ToTimeval(kOneReceive);
      ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout,
                   sizeof(timeout));
    }
    return !IsEnd(in_.Receive(socket_.get(), 0));
  }
  pollfd readable = {socket_.get(), POLLIN, 0};
  ::poll(&readable, 1, PollTimeout(left));
  return !IsEnd(in_.Receive(socket_.get(), MSG_DONTWAIT));
}

ssize_t ClientConnection::TryReceive() {
  ssize_t received = in_.Receive(socket_.get(), MSG_DONTWAIT);
  if (options_.spin <= absl::ZeroDuration()) return received;
  const absl::Time end = absl::Now() + options_.spin;
  while (received < 0 && errno == EAGAIN && absl::Now() < end) {
    received = in_.Receive(socket_.get(), MSG_DONTWAIT);
  }
  return received;
}

bool ClientConnection::IsEnd(ssize_t received) {
  const int error = errno;
  if (received > 0) return false;
  if (received < 0 && (error == EAGAIN || error == EINTR)) return false;
  SetOver(received == 0 ? "the socket was closed" : std::strerror(error));
  return true;
}

// The thread.

void ClientConnection::Run() {
  thread_id_ = std::this_thread::get_id();
  while (const std::optional<Work> work = AwaitWork()) Do(*work);
  EndAll();
}

std::optional<ClientConnection::Work> ClientConnection::AwaitWork() {
  MutexLock lock(mu_);
  // Whatever was put aside is handled by now, unless within a callback.
  if (turn_ == Turn::kThread && for_thread_ == 0) PassTurn();
  while (!is_over_ && !HasWork()) {
    const absl::Time until = next_deadline_;
    mu_.AwaitUntil(until, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return is_over_ || HasWork() || next_deadline_ < until;
    });
    if (next_deadline_ <= absl::Now()) break;
  }
  if (is_over_) return std::nullopt;
  return Work{.reads = turn_ == Turn::kThread,
              .resumes = must_resume_,
              .until = next_deadline_};
}

bool ClientConnection::HasWork() const {
  return turn_ == Turn::kThread || must_resume_ || !due_.empty();
}

void ClientConnection::Do(const Work& work) {
  RunDue();
  EndOverdue();
  ssize_t received = 0;
  if (work.reads) {
    HandleAsThread();
    if (is_over_) return;
    received = TryReceive();
    if (IsEnd(received)) return;
    if (received > 0) HandleAsThread();
  }
  if (received <= 0 || work.resumes) Poll(work);
}

void ClientConnection::HandleAsThread() {
  writer_.BeginBatch();
  while (!aside_.empty()) {
    const std::string frame = std::move(aside_.front());
    aside_.pop_front();
    HandleFrame(ParseHeader(frame.data()),
                std::string_view(frame).substr(kHeaderBytes));
  }
  HandleFrames(Reader::kThread);
  if (writer_.EndBatch() == BatchWriter::Room::kResume) ResumeSoon();
}

void ClientConnection::Poll(const Work& work) {
  {
    MutexLock lock(mu_);
    // There may be more to do by now, or less.
    if (is_over_ || !due_.empty() || must_resume_ != work.resumes ||
        next_deadline_ < work.until || (turn_ == Turn::kThread) != work.reads ||
        (work.reads && for_thread_ == 0)) {
      return;
    }
    is_polling_ = true;
  }
  short events = 0;
  if (work.reads) events |= POLLIN;
  if (work.resumes) events |= POLLOUT;
  pollfd ready[] = {{socket_.get(), events, 0}, {wake_.get(), POLLIN, 0}};
  ::poll(ready, 2, PollTimeout(work.until - absl::Now()));
  if (ready[1].revents != 0) {
    eventfd_t count;
    (void)::eventfd_read(wake_.get(), &count);
  }
  const bool can_resume = work.resumes && ready[0].revents != 0;
  {
    MutexLock lock(mu_);
    is_polling_ = false;
    if (!can_resume) return;
    must_resume_ = false;
  }
  if (writer_.Resume() == BatchWriter::Room::kResume) ResumeSoon();
}

void ClientConnection::ResumeSoon() {
  MutexLock lock(mu_);
  must_resume_ = true;
  WakeThread();
}

void ClientConnection::WhenRoom(std::function<void()> ready) {
  if (!writer_.is_full()) return ready();
  writer_.WhenRoom([self = shared_from_this(), ready = std::move(ready)] {
    self->RunSoon(ready);
  });
}

void ClientConnection::RunSoon(std::function<void()> ready) {
  {
    MutexLock lock(mu_);
    if (!has_ended_) {
      due_.push_back(std::move(ready));
      return WakeThread();
    }
  }
  ready();
}

void ClientConnection::RunDue() {
  std::vector<std::function<void()>> due;
  {
    MutexLock lock(mu_);
    due.swap(due_);
  }
  for (const auto& run : due) run();
}

void ClientConnection::EndOverdue() {
  std::vector<std::pair<std::uint32_t, Pending>> overdue;
  {
    MutexLock lock(mu_);
    const absl::Time now = absl::Now();
    if (now < next_deadline_) return;
    next_deadline_ = absl::InfiniteFuture();
    for (auto it = calls_.begin(); it != calls_.end();) {
      const auto current = it++;
      const Pending& pending = current->second;
      if (pending.is_blocking) continue;
      if (pending.deadline <= now) {
        const std::uint32_t id = current->first;
        overdue.emplace_back(id, Extract(current));
      } else {
        next_deadline_ = std::min(next_deadline_,
                                  std::max(pending.deadline, now + kOneLook));
      }
    }
  }
  for (auto& [id, pending] : overdue) {
    const bool is_half_open =
        pending.stream != nullptr && pending.stream->is_half_open();
    const absl::Status late = server_.TooLate(*pending.method, pending.timeout);
    End(std::move(pending), late, /*can_be_read=*/false);
    SendCancel(id, is_half_open);
  }
}

void ClientConnection::EndAll() {
  writer_.Close();
  PendingCalls calls;
  std::string why;
  bool speaks_ttrpc;
  {
    MutexLock lock(mu_);
    calls.swap(calls_);
    for (const auto& [id, pending] : calls) {
      if (pending.is_blocking) SetTaken(*pending.call->blocking);
    }
    for_thread_ = 0;
    why = why_over_;
    speaks_ttrpc = speaks_ttrpc_;
  }
  for (auto& [id, pending] : calls) {
    const Method& method = *pending.method;
    absl::Status status = speaks_ttrpc ? server_.Broken(method, why)
                                       : server_.SpeaksAnother(method, why);
    End(std::move(pending), std::move(status), /*can_be_read=*/true);
  }
  {
    MutexLock lock(mu_);
    has_ended_ = true;
  }
  RunDue();
}

}  // namespace tandem::rpc::ttrpc

#include "rpc/wire/ttrpc/server_end.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"
#include "rpc/wire/message_check.h"
#include "rpc/wire/ttrpc/served_connection.h"

namespace tandem::rpc::ttrpc {

using google::protobuf::MessageLite;

namespace {

// Bytes that may wait to be sent. One message more than this is taken, so that
// each message fits.
constexpr std::size_t kMaxQueued = 256 << 10;
// Unread bytes beyond which no more messages are asked for.
constexpr std::size_t kMaxUnread = 256 << 10;
// What a client may send that was not agreed with: beyond it, its stream fails.
// A message takes room besides its bytes.
constexpr std::size_t kMaxUnreadOfOthers = 4 << 20;

}  // namespace

ServerEnd::ServerEnd(const Target& target, ActiveCall active,
                     std::shared_ptr<ServedConnection> connection,
                     std::uint32_t id, bool has_credit)
    : ServerStream(std::move(active)),
      target_(target),
      connection_(std::move(connection)),
      id_(id),
      has_credit_(has_credit),
      allowed_(kInitialCredit),
      credit_(kInitialCredit) {}

ServerEnd::~ServerEnd() = default;

void ServerEnd::Begin(const Request& request, absl::Time deadline) {
  deadline_ = deadline;
  metadata_ = request.metadata;
  if (target_.method->shape == Shape::kServerStream) {
    request_.reset(target_.method->request->New());
    if (!Parse(request.payload, request_.get())) return;
  }
  WorkerPool* const pool = connection_->table().PoolFor(target_);
  waiting_ = shared_from_this();
  if (pool == nullptr) return Run();
  const absl::Status submitted = connection_->Submit(*pool, *this);
  if (submitted.ok()) return;
  waiting_ = nullptr;
  Fail(submitted);
}

void ServerEnd::Run() {
  std::shared_ptr<ServerEnd> self = std::move(waiting_);
  if (is_cancelled()) return;
  target_.method->stream(target_.handler, std::move(self), request_.get());
}

// What comes in.

void ServerEnd::Push(std::string_view bytes) {
  const Inbox::Unread unread = inbox_.unread();
  if (has_credit_) {
    if (--allowed_ < 0) {
      return Fail(absl::InvalidArgumentError(absl::StrCat(
          target_.method->path,
          ": the client sent more messages than it has credit for")));
    }
  } else if (unread.memory() > kMaxUnreadOfOthers) {
    return Fail(absl::ResourceExhaustedError(absl::StrCat(
        target_.method->path,
        ": the handler reads too slowly: ", unread.messages, " messages of ",
        unread.bytes, " bytes in all wait for it, and the client goes on")));
  }
  inbox_.Push(bytes);
  if (HoldUnread()) return;
  Fail(connection_->RefuseForMemory(target_, bytes.size()));
}

void ServerEnd::EndInput() {
  is_input_over_ = true;
  inbox_.End();
}

bool ServerEnd::Parse(std::string_view bytes, MessageLite* into) {
  absl::Status status =
      connection_->CountRequest(target_, active_, bytes.size(), *into);
  if (status.ok()) {
    status = ParseMessage(bytes, connection_->table().max_message_bytes(),
                          target_.method->path, into);
  }
  if (status.ok()) return true;
  Fail(status);
  return false;
}

void ServerEnd::OnTaken() {
  HoldUnread();
  if (!has_credit_) return;
  std::uint32_t granted = 0;
  {
    MutexLock lock(mu_);
    ++taken_;
    if (taken_ < kInitialCredit / 2 || inbox_.unread().bytes > kMaxUnread)
      return;
    granted = std::exchange(taken_, 0);
  }
  allowed_ += granted;
  connection_->WriteGrant(id_, granted);
}

bool ServerEnd::HoldUnread() {
  MemoryBudget* const memory = active_.connection().request_memory();
  if (memory == nullptr) return true;
  MutexLock lock(mu_);
  if (has_left_) return true;
  const std::size_t bytes = inbox_.unread().memory();
  if (bytes > held_memory_) {
    if (memory->Take(bytes - held_memory_) != nullptr) return false;
  } else {
    memory->Return(held_memory_ - bytes);
  }
  held_memory_ = bytes;
  return true;
}

bool ServerEnd::ReceiveAndWait(MessageLite* into) {
  active_.connection().BeginReading(read_);
  const bool got = rpc::ReceiveAndWait(*this, into);
  active_.connection().EndReading(read_);
  return got;
}

void ServerEnd::BlockedRead::EndStalled() {
  end_.connection_->EndSoon(
      end_.shared_from_this(),
      [](ServedConnection& connection, const Target& target) {
        connection.table().guard().CountSilent(connection.connection(),
                                               target.guarded);
      },
      absl::CancelledError(absl::StrCat(
          end_.target_.method->path,
          " ended: its handler waits for the client's next message, and none "
          "came (read_timeout)")));
}

// What goes out.

absl::Status ServerEnd::Send(const MessageLite& message) {
  const std::size_t bytes = message.ByteSizeLong();
  TANDEM_RETURN_IF_ERROR(connection_->CheckMessage(target_, bytes, message));
  MutexLock lock(mu_);
  if (is_over_) return absl::CancelledError("the stream is over");
  if (!HasRoom()) {
    return absl::ResourceExhaustedError("the client reads too slowly");
  }
  const std::size_t before = queued_.size();
  AppendData(queued_, id_, {&message, bytes});
  sizes_.push_back(queued_.size() - before);
  active_.connection().CountReply(bytes);
  Pump();
  return absl::OkStatus();
}

bool ServerEnd::HasRoom() const {
  return queued_.size() < kMaxQueued && !connection_->is_full();
}

void ServerEnd::OnWritable(Ready ready) {
  {
    MutexLock lock(mu_);
    if (!is_over_ && !HasRoom()) {
      writable_.push_back(std::move(ready));
      ready = nullptr;
    }
  }
  if (ready != nullptr) return ready();
  AwaitRoom();
}

// Where it is the connection that has no room.
void ServerEnd::AwaitRoom() { connection_->AwaitRoom(weak_from_this()); }

void ServerEnd::OnRoom() {
  std::vector<Ready> writable;
  bool is_full = connection_->is_full();
  {
    MutexLock lock(mu_);
    if (is_over_ || HasRoom()) writable.swap(writable_);
    if (writable_.empty()) is_full = false;
  }
  for (const Ready& ready : writable) ready();
  if (is_full) AwaitRoom();
}

void ServerEnd::Grant(std::uint32_t messages) {
  {
    MutexLock lock(mu_);
    credit_ += messages;
    Pump();
  }
  OnRoom();
}

void ServerEnd::Finish(const absl::Status& status, const MessageLite* last) {
  ForgetCallback();
  absl::Status end = status;
  std::size_t bytes = 0;
  if (last != nullptr) {
    bytes = last->ByteSizeLong();
    end = connection_->CheckReply(target_, bytes, *last);
  }
  {
    MutexLock lock(mu_);
    if (is_over_) return;
    is_over_ = true;
    if (!end.ok()) {
      AppendError(end_, id_, end);
    } else if (last != nullptr) {
      AppendReply(end_, id_, {last, bytes});
      active_.connection().CountReply(bytes);
    } else {
      AppendClosed(end_, id_);
    }
    Pump();
  }
  // Nobody reads any more, nor waits for room.
  inbox_.Break();
  OnRoom();
}

void ServerEnd::Pump() {
  if (is_pumping_) return;
  is_pumping_ = true;
  bool has_progress = false;
  bool has_ended = false;
  while (TakeDue()) {
    has_progress = true;
    has_ended = is_over_ && sizes_.empty() && end_.is_empty();
    mu_.Unlock();
    connection_->WriteStream(pumping_);
    mu_.Lock();
    pumping_.Clear();
  }
  is_pumping_ = false;
  ShowWait(has_progress);
  if (!has_ended) return;
  mu_.Unlock();
  Leave();
  mu_.Lock();
}

bool ServerEnd::TakeDue() {
  std::size_t bytes = 0;
  while (!sizes_.empty() && (!has_credit_ || credit_ > 0)) {
    bytes += sizes_.front();
    sizes_.pop_front();
    if (has_credit_) --credit_;
  }
  if (bytes == queued_.size()) {
    pumping_.swap(queued_);
  } else {
    pumping_.Append(queued_.unsent().substr(0, bytes));
    queued_.Consume(bytes);
  }
  if (sizes_.empty() && !end_.is_empty()) {
    pumping_.Append(end_.unsent());
    end_.Clear();
  }
  return !pumping_.is_empty();
}

void ServerEnd::ShowWait(bool has_progress) {
  const bool waits = !sizes_.empty();
  if (shows_wait_ && (has_progress || !waits)) {
    active_.connection().EndWriting(*this);
    shows_wait_ = false;
  }
  if (waits && !shows_wait_) {
    active_.connection().BeginWriting(*this);
    shows_wait_ = true;
  }
}

void ServerEnd::EndStalled() {
  connection_->EndSoon(
      shared_from_this(),
      [](ServedConnection& connection, const Target& target) {
        connection.table().guard().CountStalled(connection.connection(),
                                                target.guarded);
      },
      absl::CancelledError(absl::StrCat(
          target_.method->path,
          " ended: the client does not read its answer (write_timeout)")));
}

// The end.

void ServerEnd::Abandon() {
  {
    MutexLock lock(mu_);
    if (!Drop()) return;
  }
  inbox_.Break();
  MarkCancelled();
  OnRoom();
  Leave();
}

void ServerEnd::Fail(const absl::Status& why) {
  {
    MutexLock lock(mu_);
    if (!Drop()) return;
  }
  connection_->WriteError(id_, why);
  inbox_.Break();
  MarkCancelled();
  OnRoom();
  Leave();
}

bool ServerEnd::Drop() {
  // A stream that was finished may still wait for credit.
  if (is_over_ && sizes_.empty()) return false;
  is_over_ = true;
  queued_.Clear();
  sizes_.clear();
  end_.Clear();
  ShowWait(false);
  return true;
}

void ServerEnd::Leave() {
  {
    MutexLock lock(mu_);
    if (std::exchange(has_left_, true)) return;
    if (held_memory_ > 0) {
      active_.connection().request_memory()->Return(
          std::exchange(held_memory_, 0));
    }
  }
  active_.End();
  connection_->Forget(id_);
}

}  // namespace tandem::rpc::ttrpc

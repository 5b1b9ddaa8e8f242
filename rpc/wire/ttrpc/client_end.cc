#include "rpc/wire/ttrpc/client_end.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rpc/client/server_view.h"
#include "rpc/wire/message_check.h"
#include "rpc/wire/ttrpc/client_connection.h"
#include "rpc/wire/ttrpc/frame.h"

namespace tandem::rpc::ttrpc {
namespace {

using google::protobuf::MessageLite;

// As many are granted in one frame.
constexpr std::uint32_t kGrant = kInitialCredit / 2;
// What may be unread of a stream whose sender counts no credit. An empty
// message takes room as well.
constexpr std::size_t kMaxUnreadBytes = 8 << 20;

}  // namespace

ClientEnd::ClientEnd(std::shared_ptr<ClientConnection> connection,
                     const Method& method, bool sends)
    : connection_(std::move(connection)),
      method_(method),
      inbox_(*this),
      credit_(kInitialCredit),
      is_send_over_(!sends),
      is_closed_(!sends) {}

absl::Status ClientEnd::Send(const MessageLite& message) {
  const std::size_t bytes = message.ByteSizeLong();
  const absl::Status fits =
      CheckLength(bytes, connection_->max_sent_bytes(), message, method_.path);
  if (!fits.ok()) return absl::InvalidArgumentError(fits.message());
  {
    MutexLock lock(mu_);
    if (is_send_over_) return absl::CancelledError("the stream is over");
    if (!has_credit() || connection_->is_full()) {
      return absl::ResourceExhaustedError("the server reads too slowly");
    }
    if (credit_ > 0) --credit_;
  }
  connection_->Write([&](OutputBuffer& out) {
    AppendData(out, id_, {.message = &message, .bytes = bytes});
  });
  return absl::OkStatus();
}

void ClientEnd::OnWritable(Ready ready) {
  bool is_over;
  {
    MutexLock lock(mu_);
    is_over = is_send_over_;
    if (!is_over && !has_credit()) {
      writable_.push_back(std::move(ready));
      return;
    }
  }
  if (is_over) return ready();
  connection_->WhenRoom(std::move(ready));
}

void ClientEnd::Receive(MessageLite* into, Received done) {
  const auto self = shared_from_this();
  inbox_.Receive(into, std::move(done));
}

void ClientEnd::CloseSend() {
  {
    MutexLock lock(mu_);
    if (std::exchange(is_send_over_, true)) return;
    is_closed_ = true;
  }
  connection_->Write([this](OutputBuffer& out) { AppendClosed(out, id_); });
}

void ClientEnd::Cancel() {
  const auto self = shared_from_this();
  connection_->GiveUp(id_, CancelledByCaller(method_));
  // If it had ended: what is unread is of no use any more.
  inbox_.Break();
}

absl::Status ClientEnd::status() const {
  MutexLock lock(mu_);
  return is_drained_ ? end_ : absl::OkStatus();
}

bool ClientEnd::is_half_open() const {
  MutexLock lock(mu_);
  return !is_closed_;
}

void ClientEnd::OnMessage(std::string_view bytes) {
  const Inbox::Unread unread = inbox_.unread();
  if (connection_->may_grant()) {
    if (unread.messages >= kInitialCredit) {
      return connection_->GiveUp(
          id_, absl::InternalError(absl::StrCat(
                   method_.path,
                   ": the server sent more messages than it had credit for")));
    }
  } else if (unread.memory() >= kMaxUnreadBytes) {
    return connection_->GiveUp(
        id_,
        absl::ResourceExhaustedError(absl::StrCat(
            method_.path, ": the stream was ended, since ", unread.messages,
            " messages of it are unread, and its server cannot be held "
            "back: read faster")));
  }
  inbox_.Push(bytes);
}

void ClientEnd::OnCredit(std::uint32_t messages) {
  std::vector<Ready> writable;
  {
    MutexLock lock(mu_);
    credit_ +=
        std::min(messages, std::numeric_limits<std::uint32_t>::max() - credit_);
    writable.swap(writable_);
  }
  for (Ready& ready : writable) ready();
}

void ClientEnd::OnAgreement() {
  std::vector<Ready> writable;
  {
    MutexLock lock(mu_);
    if (has_credit()) writable.swap(writable_);
  }
  for (Ready& ready : writable) ready();
  Grant();
}

void ClientEnd::End(const absl::Status& status, bool can_be_read) {
  const auto self = shared_from_this();
  std::vector<Ready> writable;
  {
    MutexLock lock(mu_);
    if (!std::exchange(has_ended_, true)) end_ = status;
    is_send_over_ = true;
    writable.swap(writable_);
  }
  can_be_read ? inbox_.End() : inbox_.Break();
  for (Ready& ready : writable) ready();
}

bool ClientEnd::Parse(std::string_view bytes, MessageLite* into) {
  const absl::Status parsed = FitsClient(ParseMessage(
      bytes, connection_->max_message_bytes(), method_.path, into));
  if (parsed.ok()) return true;
  {
    // Even if the server has ended it by now, with success.
    MutexLock lock(mu_);
    has_ended_ = true;
    end_ = parsed;
  }
  connection_->GiveUp(id_, parsed);
  return false;
}

void ClientEnd::OnTaken() {
  {
    MutexLock lock(mu_);
    ++taken_;
  }
  Grant();
}

void ClientEnd::OnDrained() {
  MutexLock lock(mu_);
  is_drained_ = true;
}

void ClientEnd::Grant() {
  std::uint32_t messages = 0;
  {
    MutexLock lock(mu_);
    if (!connection_->may_grant() || has_ended_ || taken_ < kGrant) return;
    messages = std::exchange(taken_, 0);
  }
  connection_->Write(
      [&](OutputBuffer& out) { AppendCredit(out, id_, messages); });
}

bool ClientEnd::has_credit() const {
  return credit_ > 0 || !connection_->counts_credit();
}

}  // namespace tandem::rpc::ttrpc

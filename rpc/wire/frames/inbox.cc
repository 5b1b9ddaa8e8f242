#include "rpc/wire/frames/inbox.h"

#include <utility>

namespace tandem::rpc {

using google::protobuf::MessageLite;

void Inbox::Push(std::string_view bytes) {
  MutexLock lock(mu_);
  if (is_ended_) return;
  if (received_ != nullptr && queue_.empty() && !is_delivering_) {
    return Deliver(&bytes);
  }
  queue_.emplace_back(bytes);
  bytes_ += bytes.size();
}

void Inbox::End() {
  MutexLock lock(mu_);
  is_ended_ = true;
  Deliver(nullptr);
}

void Inbox::Break() {
  MutexLock lock(mu_);
  is_ended_ = true;
  queue_.clear();
  bytes_ = 0;
  Deliver(nullptr);
}

void Inbox::Receive(MessageLite* into, MessageStream::Received done) {
  MutexLock lock(mu_);
  into_ = into;
  received_ = std::move(done);
  Deliver(nullptr);
}

Inbox::Unread Inbox::unread() const {
  MutexLock lock(mu_);
  return {.messages = queue_.size(), .bytes = bytes_};
}

void Inbox::Deliver(const std::string_view* fresh) {
  if (is_delivering_) return;
  is_delivering_ = true;
  while (received_ != nullptr &&
         (fresh != nullptr || !queue_.empty() || is_ended_)) {
    const MessageStream::Received received = std::exchange(received_, nullptr);
    MessageLite* const into = into_;
    std::string oldest;
    const bool has_message = fresh != nullptr || !queue_.empty();
    if (fresh == nullptr && has_message) {
      oldest = std::move(queue_.front());
      queue_.pop_front();
      bytes_ -= oldest.size();
    }
    mu_.Unlock();
    const bool is_parsed =
        has_message && Take(fresh != nullptr ? *fresh : oldest, into);
    fresh = nullptr;
    if (!is_parsed) owner_.OnDrained();
    mu_.Lock();
    if (!is_parsed) {
      is_ended_ = true;
      queue_.clear();
      bytes_ = 0;
    }
    mu_.Unlock();
    received(is_parsed);
    mu_.Lock();
  }
  is_delivering_ = false;
}

bool Inbox::Take(std::string_view bytes, MessageLite* into) {
  if (!owner_.Parse(bytes, into)) return false;
  owner_.OnTaken();
  return true;
}

}  // namespace tandem::rpc

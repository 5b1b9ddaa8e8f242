#include "rpc/server/server_connection.h"

#include <ctime>

namespace tandem::rpc {
namespace {

// Within a few milliseconds, and cheap.
std::int64_t NowNanos() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

}  // namespace

void ServerConnection::BeginWriting(Writing& writing) {
  const std::int64_t now = NowNanos();
  MutexLock lock(mu_);
  writing.since_ = now;
  writing.was_ended_ = false;
  Append(writing);
}

void ServerConnection::EndWriting(Writing& writing) {
  MutexLock lock(mu_);
  if (writing.since_ != 0) Unlink(writing);
}

bool ServerConnection::EndStalled(absl::Duration limit) {
  const std::int64_t now = NowNanos();
  const std::int64_t oldest = now - absl::ToInt64Nanoseconds(limit);
  MutexLock lock(mu_);
  while (first_ != nullptr && first_->since_ < oldest) {
    Writing& writing = *first_;
    if (writing.was_ended_) return false;
    Unlink(writing);
    writing.since_ = now;
    writing.was_ended_ = true;
    Append(writing);
    writing.EndStalled();
  }
  return true;
}

void ServerConnection::Append(Writing& writing) {
  writing.before_ = last_;
  writing.after_ = nullptr;
  (last_ == nullptr ? first_ : last_->after_) = &writing;
  last_ = &writing;
}

void ServerConnection::Unlink(Writing& writing) {
  (writing.before_ == nullptr ? first_ : writing.before_->after_) =
      writing.after_;
  (writing.after_ == nullptr ? last_ : writing.after_->before_) =
      writing.before_;
  writing.since_ = 0;
}

}  // namespace tandem::rpc

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
  writing.before_ = last_;
  writing.after_ = nullptr;
  (last_ == nullptr ? first_ : last_->after_) = &writing;
  last_ = &writing;
}

void ServerConnection::EndWriting(Writing& writing) {
  MutexLock lock(mu_);
  // EndStalled() may have taken it out.
  if (writing.since_ == 0) return;
  Unlink(writing);
}

int ServerConnection::EndStalled(absl::Duration limit) {
  const std::int64_t oldest = NowNanos() - absl::ToInt64Nanoseconds(limit);
  int ended = 0;
  MutexLock lock(mu_);
  while (first_ != nullptr && first_->since_ < oldest) {
    Writing& writing = *first_;
    Unlink(writing);
    writing.EndStalled();
    ++ended;
  }
  return ended;
}

void ServerConnection::Unlink(Writing& writing) {
  (writing.before_ == nullptr ? first_ : writing.before_->after_) =
      writing.after_;
  (writing.after_ == nullptr ? last_ : writing.after_->before_) =
      writing.before_;
  writing.since_ = 0;
}

}  // namespace tandem::rpc

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

void ServerConnection::BeginWriting(Wait& writing) {
  const std::int64_t now = NowNanos();
  MutexLock lock(mu_);
  writing.was_ended_ = false;
  writing_.Append(writing, now);
}

void ServerConnection::EndWriting(Wait& writing) {
  MutexLock lock(mu_);
  if (writing.since_ != 0) writing_.Unlink(writing);
}

bool ServerConnection::EndStalled(absl::Duration limit) {
  const std::int64_t now = NowNanos();
  const std::int64_t oldest = now - absl::ToInt64Nanoseconds(limit);
  MutexLock lock(mu_);
  while (writing_.first != nullptr && writing_.first->since_ < oldest) {
    Wait& writing = *writing_.first;
    if (writing.was_ended_) return false;
    writing_.Unlink(writing);
    writing.was_ended_ = true;
    writing_.Append(writing, now);
    writing.EndStalled();
  }
  return true;
}

void ServerConnection::BeginReading(Wait& reading) {
  const std::int64_t now = NowNanos();
  MutexLock lock(mu_);
  reading_.Append(reading, now);
}

void ServerConnection::EndReading(Wait& reading) {
  MutexLock lock(mu_);
  if (reading.since_ != 0) reading_.Unlink(reading);
}

void ServerConnection::EndSilent(absl::Duration limit) {
  const std::int64_t oldest = NowNanos() - absl::ToInt64Nanoseconds(limit);
  MutexLock lock(mu_);
  while (reading_.first != nullptr && reading_.first->since_ < oldest) {
    Wait& reading = *reading_.first;
    reading_.Unlink(reading);
    reading.EndStalled();
  }
}

void ServerConnection::Waits::Append(Wait& wait, std::int64_t now) {
  wait.since_ = now;
  wait.before_ = last;
  wait.after_ = nullptr;
  (last == nullptr ? first : last->after_) = &wait;
  last = &wait;
}

void ServerConnection::Waits::Unlink(Wait& wait) {
  (wait.before_ == nullptr ? first : wait.before_->after_) = wait.after_;
  (wait.after_ == nullptr ? last : wait.after_->before_) = wait.before_;
  wait.since_ = 0;
}

}  // namespace tandem::rpc

#include "rpc/server/server_connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <ctime>

namespace tandem::rpc {
namespace {

// Within a few milliseconds, and cheap.
std::int64_t NowNanos() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

// To forgive what Charge() charges once.
constexpr std::int64_t kNanosToForgive = 1'000'000;

}  // namespace

void ServerConnection::SetSocket(int socket) {
  MutexLock lock(mu_);
  socket_ = socket;
}

void ServerConnection::MarkEnded() {
  is_open_.store(false, kRelaxed);
  MutexLock lock(mu_);
  socket_ = -1;
}

bool ServerConnection::ShutDown() {
  MutexLock lock(mu_);
  if (socket_ < 0 || is_shut_down()) return false;
  // It may be over, and nobody have noticed yet.
  pollfd end{socket_, POLLRDHUP, 0};
  if (::poll(&end, 1, 0) != 0) return false;
  is_shut_down_.store(true, kRelaxed);
  ::shutdown(socket_, SHUT_RDWR);
  return true;
}

bool ServerConnection::Charge(int at_once) {
  const std::int64_t now = NowNanos();
  std::int64_t before = forgiven_at_.load(kRelaxed);
  std::int64_t after;
  do {
    after = std::max(before, now) + kNanosToForgive;
  } while (!forgiven_at_.compare_exchange_weak(before, after, kRelaxed));
  return after - now <= at_once * kNanosToForgive;
}

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

#include "rpc/wire/frames/batch_writer.h"

#include <sys/socket.h>

#include <cerrno>
#include <string_view>
#include <utility>

namespace tandem::rpc {

thread_local const BatchWriter* BatchWriter::batch_of_this_thread_ = nullptr;

BatchWriter::Room BatchWriter::SendBatch() {
  MutexLock lock(mu_);
  if (!is_in_order_) {
    if (out_.is_empty()) {
      out_.swap(batch_);
    } else {
      out_.Append(batch_.unsent());
      batch_.Clear();
    }
    in_batch_.store(0, std::memory_order_relaxed);
  }
  ordered_part_ = {};
  return Send();
}

BatchWriter::Room BatchWriter::Send() {
  CountUnsent();
  if (is_sending_ || is_blocked_) return Room::kEnough;
  is_sending_ = true;
  while (!is_broken_ && (!sending_.is_empty() || !out_.is_empty())) {
    if (sending_.is_empty()) sending_.swap(out_);
    sending_bytes_ = sending_.size();
    CountUnsent();
    const std::string_view bytes = sending_.unsent();
    mu_.Unlock();
    const ssize_t took =
        ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    const int error = errno;
    mu_.Lock();
    if (took >= 0) {
      sending_.Consume(static_cast<std::size_t>(took));
      sending_bytes_ = sending_.size();
      sent_.fetch_add(static_cast<std::uint64_t>(took),
                      std::memory_order_relaxed);
      CountUnsent();
    } else if (error == EAGAIN) {
      is_blocked_ = true;
      break;
    } else if (error != EINTR) {
      Break();
    }
  }
  is_sending_ = false;
  if (is_broken_) Drop();
  if (is_awaited_) mu_.NotifyAll();
  // While callbacks run, another thread may be told.
  const Room room = is_blocked_ ? Room::kResume : Room::kEnough;
  RunReady();
  return room;
}

BatchWriter::Room BatchWriter::Resume() {
  MutexLock lock(mu_);
  is_blocked_ = false;
  return Send();
}

void BatchWriter::Break() {
  is_broken_ = true;
  ::shutdown(fd_, SHUT_RDWR);
}

void BatchWriter::Drop() {
  is_blocked_ = false;
  sending_.Clear();
  out_.Clear();
  sending_bytes_ = 0;
  CountUnsent();
}

void BatchWriter::RunReady() {
  while (!waiting_.empty() &&
         (is_broken_ || out_.size() + sending_bytes_ < kMaxUnsent)) {
    const std::vector<Ready> ready = std::exchange(waiting_, {});
    mu_.Unlock();
    for (const Ready& run : ready) run();
    mu_.Lock();
  }
}

void BatchWriter::WhenRoom(Ready ready) {
  {
    MutexLock lock(mu_);
    if (!is_broken_ && is_full()) {
      waiting_.push_back(std::move(ready));
      return;
    }
  }
  ready();
}

void BatchWriter::AwaitNobodySends() {
  is_awaited_ = true;
  mu_.Await([this]()
                ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !is_sending_; });
  is_awaited_ = false;
}

bool BatchWriter::AwaitSent() {
  MutexLock lock(mu_);
  AwaitNobodySends();
  return is_broken_ || (sending_.is_empty() && out_.is_empty());
}

void BatchWriter::Close() {
  MutexLock lock(mu_);
  if (!is_broken_) Break();
  AwaitNobodySends();
  Drop();
  RunReady();
}

}  // namespace tandem::rpc

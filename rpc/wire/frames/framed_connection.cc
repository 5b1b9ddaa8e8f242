#include "rpc/wire/frames/framed_connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

namespace tandem::rpc {
namespace {

// Of a frame that has come in part: the limit on connections bounds it.
constexpr std::size_t kLittle = 16 << 10;

}  // namespace

FramedConnection::FramedConnection(UniqueFd socket,
                                   std::shared_ptr<ServerConnection> connection,
                                   PollThread& thread, BatchWriter::Batch batch)
    : connection_(std::move(connection)),
      thread_(thread),
      socket_(std::move(socket)),
      writer_(socket_.get(), batch) {}

FramedConnection::~FramedConnection() {
  // Where its thread was stopped before it ended.
  writer_.Close();
  ReleaseMemory();
  MutexLock lock(mu_);
  ForgetWait();
}

absl::Status FramedConnection::Begin() {
  return thread_.Add(shared_from_this(), socket_.get(), EPOLLIN);
}

void FramedConnection::End() {
  if (is_ending_.exchange(true)) return;
  thread_.Run([self = shared_from_this()] {
    if (self->is_over_) return;
    self->ends_when_sent_ = true;
    self->SetReads(false);
    self->CloseIfSent();
  });
}

void FramedConnection::EndNow() {
  is_ending_ = true;
  thread_.Run([self = shared_from_this()] { self->Close(); });
}

void FramedConnection::CloseIfSent() {
  if (ends_when_sent_ && writer_.AwaitSent()) Close();
}

void FramedConnection::OnReady(std::uint32_t events) {
  if (is_over_) return;
  if ((events & EPOLLOUT) != 0) Resume();
  if (is_over_) return;
  if ((events & EPOLLIN) != 0) {
    if (!Read()) Close();
  } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    Close();
  }
}

bool FramedConnection::Read() {
  input_.Borrow(thread_.spare());
  const ssize_t got = input_.Receive(socket_.get(), MSG_DONTWAIT);
  const bool is_over = got == 0 || (got < 0 && errno != EAGAIN);
  if (got > 0) TakeFrames();
  input_.GiveBack(thread_.spare());
  return !is_over && HoldMemory();
}

void FramedConnection::TakeFrames() {
  ReleaseMemory();
  writer_.BeginBatch();
  is_partial_ = false;
  bool is_held_up = false;
  while (!input_.is_empty() && !is_ending_) {
    is_held_up = writer_.is_full() || HasEnough();
    if (is_held_up) break;
    std::size_t needed = 0;
    const std::size_t taken = TakeFrame(input_.unread(), &needed);
    if (taken == 0) {
      input_.Expect(needed);
      is_partial_ = true;
      break;
    }
    input_.Consume(taken);
  }
  EndBatch();
  if (writer_.EndBatch() == BatchWriter::Room::kResume) AwaitRoom();
  if (!is_held_up && !writer_.is_full()) return;
  // What is left is taken once nothing holds it up, which may be so by now.
  SetReads(false);
  TakeMore();
}

void FramedConnection::TakeMore() {
  thread_.Run([self = shared_from_this()] {
    if (!self->is_over_) self->GoOn();
  });
}

void FramedConnection::GoOn() {
  // The wire calls TakeMore() when it has less to do.
  if (ends_when_sent_ || awaits_drain_ || HasEnough()) return;
  if (writer_.is_full()) {
    awaits_drain_ = true;
    return writer_.WhenRoom([self = shared_from_this()] {
      self->thread_.Run([self] {
        self->awaits_drain_ = false;
        if (!self->is_over_) self->GoOn();
      });
    });
  }
  if (!SetReads(true)) return;
  TakeFrames();
  if (!HoldMemory()) Close();
}

bool FramedConnection::HoldMemory() {
  MemoryBudget* const budget = connection_->request_memory();
  const std::size_t size = input_.unread().size();
  if (budget == nullptr || !is_partial_ || size <= kLittle) return true;
  if (budget->Take(size - kLittle) == nullptr) {
    held_memory_ = size - kLittle;
    return true;
  }
  const std::size_t dropped = RefuseFrame(input_.unread());
  input_.Consume(dropped);
  input_.GiveBack(thread_.spare());
  return dropped >= size;
}

void FramedConnection::ReleaseMemory() {
  if (held_memory_ == 0) return;
  connection_->request_memory()->Return(std::exchange(held_memory_, 0));
}

void FramedConnection::AwaitRoom() {
  MutexLock lock(mu_);
  if (is_closed_) return;
  if (is_waiting_ && writer_.sent() >= awaited_) ForgetWait();
  if (!is_waiting_) {
    is_waiting_ = true;
    awaited_ = writer_.sent() + writer_.unsent();
    connection_->BeginWriting(*this);
  }
  awaits_room_ = true;
  Watch();
}

void FramedConnection::Resume() {
  {
    // First: once the writer goes on, another thread may be told to wait anew.
    MutexLock lock(mu_);
    awaits_room_ = false;
    Watch();
  }
  if (writer_.Resume() == BatchWriter::Room::kResume) {
    AwaitRoom();
  } else {
    MutexLock lock(mu_);
    if (!awaits_room_) ForgetWait();
  }
  CloseIfSent();
  if (!is_over_) GoOn();
}

void FramedConnection::ForgetWait() {
  if (!std::exchange(is_waiting_, false)) return;
  connection_->EndWriting(*this);
}

bool FramedConnection::SetReads(bool reads) {
  MutexLock lock(mu_);
  if (reads_ == reads) return false;
  reads_ = reads;
  Watch();
  return true;
}

void FramedConnection::Watch() {
  if (is_closed_) return;
  thread_.Change(*this, socket_.get(),
                 (reads_ ? EPOLLIN : 0U) | (awaits_room_ ? EPOLLOUT : 0U));
}

void FramedConnection::Close() {
  if (std::exchange(is_over_, true)) return;
  is_ending_ = true;
  {
    MutexLock lock(mu_);
    ForgetWait();
    is_closed_ = true;
  }
  ReleaseMemory();
  thread_.Remove(*this, socket_.get());
  writer_.Close();
  // The front door's duplicate of it is shut down, too.
  socket_.Reset();
  Ended();
}

void FramedConnection::EndStalled() {
  thread_.Run([self = shared_from_this()] {
    if (!self->is_over_) self->Stalled();
  });
}

}  // namespace tandem::rpc

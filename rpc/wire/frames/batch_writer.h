// Writes to a connection what many threads have to say, in few system calls.

#ifndef TANDEM_RPC_WIRE_FRAMES_BATCH_WRITER_H_
#define TANDEM_RPC_WIRE_FRAMES_BATCH_WRITER_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "rpc/base/mutex.h"
#include "rpc/wire/frames/output_buffer.h"

namespace tandem::rpc {

// Natural batching, without a timer and without delay where there is little to
// do. Whoever has something to say appends it, and sends it unless another
// thread is sending: that one then sends this too, with all that came
// meanwhile. The thread that works through what one recv(2) brought gathers
// what it says itself (BeginBatch, EndBatch), and takes no lock for it unless
// the order matters. Of a long batch it sends the beginning early: so the other
// side works on that while this one works through the rest.
//
// Never blocks. Where the socket takes no more, a method returns
// Room::kResume: whoever is told so, and nobody else is, has Resume() called
// once the socket is writable. When the connection breaks, it is shut down, so
// that its reader notices, and what is written is dropped.
//
// Thread safety: thread-safe, but for a batch kApart, which is of one thread.
// Any method may run callbacks of WhenRoom(), so hold no lock that they take.
class BatchWriter {
 public:
  using Ready = std::function<void()>;

  enum class Room : std::uint8_t {
    kEnough,
    kResume,  // Call Resume() once the socket is writable.
  };

  // What a batch is to others' writes.
  enum class Batch : std::uint8_t {
    kApart,    // Gathered without the lock: it may be sent after later writes.
    kInOrder,  // Sent in the order of all writes.
  };

  // Bytes unsent from which on the other side reads too slowly.
  static constexpr std::size_t kMaxUnsent = 256 << 10;

  // `fd`, a socket that does not block, is borrowed until Close().
  explicit BatchWriter(int fd, Batch batch = Batch::kApart)
      : fd_(fd), is_in_order_(batch == Batch::kInOrder) {}
  BatchWriter(const BatchWriter&) = delete;
  BatchWriter& operator=(const BatchWriter&) = delete;

  // Has `append(OutputBuffer&)` add something, and sends it now, or as a part
  // of this thread's batch. `append` runs with the lock held; it may not write
  // here.
  template <typename Append>
  Room Write(Append append) ABSL_LOCKS_EXCLUDED(mu_) {
    if (batch_of_this_thread_ == this && !is_in_order_) {
      append(batch_);
      in_batch_.store(batch_.size(), std::memory_order_relaxed);
      return part_.IsDue(batch_.size()) ? SendBatch() : Room::kEnough;
    }
    return WriteInOrder(std::move(append));
  }

  // The same, sent in the order of all writes by this method.
  template <typename Append>
  Room WriteInOrder(Append append) ABSL_LOCKS_EXCLUDED(mu_) {
    const bool is_in_batch = batch_of_this_thread_ == this;
    MutexLock lock(mu_);
    append(out_);
    if (is_in_batch) {
      has_ordered_ = true;
      if (ordered_part_.IsDue(out_.size())) return Send();
      CountUnsent();
      return Room::kEnough;
    }
    if (is_held_ && out_.size() < kMaxBatch) {
      CountUnsent();
      has_held_ = true;
      // Else Release() may not have seen it.
      if (is_held_) return Room::kEnough;
    }
    return Send();
  }

  // Between them, what this thread writes is gathered. A thread is in one batch
  // at a time; several may be in batches of one writer that is kInOrder.
  void BeginBatch() { batch_of_this_thread_ = this; }
  Room EndBatch() ABSL_LOCKS_EXCLUDED(mu_) {
    batch_of_this_thread_ = nullptr;
    const bool has_ordered = has_ordered_.exchange(false);
    const bool has_own = !is_in_order_ && !batch_.is_empty();
    if (!is_in_order_) part_ = {};
    return has_own || has_ordered ? SendBatch() : Room::kEnough;
  }

  // Between them, what other threads write is left to Release(), which sends it
  // in one go. For a thread that wakes those who will write, and does nothing
  // else meanwhile; one at a time.
  void Hold() { is_held_ = true; }
  Room Release() ABSL_LOCKS_EXCLUDED(mu_) {
    is_held_ = false;
    return has_held_.exchange(false) ? SendBatch() : Room::kEnough;
  }

  // Goes on where the socket took no more. kResume: again.
  Room Resume() ABSL_LOCKS_EXCLUDED(mu_);

  // What was written and is not with the kernel.
  std::size_t unsent() const {
    return unsent_.load(std::memory_order_relaxed) +
           in_batch_.load(std::memory_order_relaxed);
  }
  bool is_full() const { return unsent() >= kMaxUnsent; }
  // What the kernel took since the beginning.
  std::uint64_t sent() const { return sent_.load(std::memory_order_relaxed); }

  // Runs `ready` once it is not full, or the connection is broken or closed: at
  // once, on this thread, if that is so now. Without locks held.
  void WhenRoom(Ready ready) ABSL_LOCKS_EXCLUDED(mu_);

  // Waits for a thread that sends to be done, which never blocks; true when all
  // that was written is with the kernel then.
  bool AwaitSent() ABSL_LOCKS_EXCLUDED(mu_);

  // Drops what is unsent and all that is written from now on; `fd` is not used
  // any more. Idempotent.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  static constexpr std::size_t kMaxBatch = 256 << 10;

  // Tells when enough of a batch is there to send it early: some frames at
  // first, then twice as many each time, so that a long batch takes few system
  // calls.
  class Part {
   public:
    // Once for each write; there are `bytes` unsent by now.
    bool IsDue(std::size_t bytes) {
      if (++writes_ < most_ && bytes < kMaxBatch) return false;
      writes_ = 0;
      most_ = std::min<std::size_t>(2 * most_, 1024);
      return true;
    }

   private:
    std::size_t writes_ = 0;
    std::size_t most_ = 16;
  };

  Room SendBatch() ABSL_LOCKS_EXCLUDED(mu_);
  // Sends all there is, unless another thread does. Unlocks meanwhile.
  Room Send() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whoever sends notices, and drops what is unsent.
  void Break() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AwaitNobodySends() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Drop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Unlocks meanwhile.
  void RunReady() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CountUnsent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    unsent_.store(out_.size() + sending_bytes_, std::memory_order_relaxed);
  }

  static thread_local const BatchWriter* batch_of_this_thread_;

  const int fd_;
  const bool is_in_order_;
  // Of the thread that is in the batch; not used kInOrder, where there may be
  // several.
  OutputBuffer batch_;
  Part part_;
  // Something in out_ is left to EndBatch().
  std::atomic<bool> has_ordered_{false};
  // Between Hold() and Release(); something in out_ is left to that.
  std::atomic<bool> is_held_{false};
  std::atomic<bool> has_held_{false};
  std::atomic<std::size_t> in_batch_{0};
  std::atomic<std::size_t> unsent_{0};
  std::atomic<std::uint64_t> sent_{0};
  // Of the thread that sends.
  OutputBuffer sending_;

  Mutex mu_;
  OutputBuffer out_ ABSL_GUARDED_BY(mu_);
  // Of the batches that write here.
  Part ordered_part_ ABSL_GUARDED_BY(mu_);
  std::size_t sending_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  // A thread sends.
  bool is_sending_ ABSL_GUARDED_BY(mu_) = false;
  // The socket took no more, and somebody was told so.
  bool is_blocked_ ABSL_GUARDED_BY(mu_) = false;
  bool is_broken_ ABSL_GUARDED_BY(mu_) = false;
  // A thread waits until is_sending_ is false.
  bool is_awaited_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Ready> waiting_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_FRAMES_BATCH_WRITER_H_

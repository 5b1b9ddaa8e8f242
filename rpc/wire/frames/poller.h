// Threads that wait for many sockets.

#ifndef TANDEM_RPC_WIRE_FRAMES_POLLER_H_
#define TANDEM_RPC_WIRE_FRAMES_POLLER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/base/unique_fd.h"
#include "rpc/wire/frames/input_buffer.h"

struct epoll_event;

namespace tandem::rpc {

class PollThread;

// What a PollThread watches: the owner of a descriptor.
class PollSource {
 public:
  virtual ~PollSource() = default;

  // Its descriptor is ready, as epoll_wait(2) says. On its thread.
  virtual void OnReady(std::uint32_t events) = 0;
  // The time of WakeAt() has come. On its thread.
  virtual void OnTime() = 0;

 private:
  friend class PollThread;
  absl::Time wake_at_ = absl::InfiniteFuture();
};

// One thread, and the sources that it watches. Level-triggered: what is ready
// and is left so is said again.
//
// Thread safety: thread-safe, but for what is said to be for its thread.
class PollThread {
 public:
  // For how long it asks again and again before it sleeps.
  // Errors: kResourceExhausted (descriptors).
  static absl::StatusOr<std::unique_ptr<PollThread>> Start(absl::Duration spin);
  // Stops.
  ~PollThread();
  PollThread(const PollThread&) = delete;
  PollThread& operator=(const PollThread&) = delete;

  // Watches `fd` for `events` (EPOLLIN, EPOLLOUT), and keeps `source` until
  // Remove() or the end. Errors: kResourceExhausted (the kernel watches no
  // more).
  absl::Status Add(std::shared_ptr<PollSource> source, int fd,
                   std::uint32_t events) ABSL_LOCKS_EXCLUDED(mu_);
  // Watches for other events; none is fine. Requires that it was added.
  void Change(PollSource& source, int fd, std::uint32_t events);

  // Runs `task` soon, on its thread; never once the thread has stopped.
  void Run(std::function<void()> task) ABSL_LOCKS_EXCLUDED(mu_);

  // For its thread, from the source's own methods and from tasks. Watches no
  // more, and lets go of the source a moment later.
  void Remove(PollSource& source, int fd) ABSL_LOCKS_EXCLUDED(mu_);
  // For its thread. Has OnTime() called once, at `time`, which replaces what
  // was asked for before; absl::InfiniteFuture(): never.
  void WakeAt(PollSource& source, absl::Time time);
  // Whether this is its thread.
  bool is_current() const {
    return std::this_thread::get_id() == id_.load(std::memory_order_relaxed);
  }

  // For its thread: memory that its sources read with (InputBuffer::Borrow).
  InputBuffer& spare() { return spare_; }

  // Ends the thread, and lets go of all sources. Idempotent. Not from its
  // thread.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  explicit PollThread(absl::Duration spin) : spin_(spin) {}
  void Loop() ABSL_LOCKS_EXCLUDED(mu_);
  int Wait(epoll_event* events, int most);
  int MillisToSleep() const;
  void WakeSleepers();
  // False once it is to stop.
  bool RunTasks() ABSL_LOCKS_EXCLUDED(mu_);

  const absl::Duration spin_;
  UniqueFd epoll_;
  UniqueFd wake_up_;

  std::atomic<std::thread::id> id_{};

  // Of its thread.
  std::set<std::pair<absl::Time, PollSource*>> sleepers_;
  std::vector<std::shared_ptr<PollSource>> removed_;
  InputBuffer spare_;

  Mutex mu_;
  std::unordered_map<PollSource*, std::shared_ptr<PollSource>> sources_
      ABSL_GUARDED_BY(mu_);
  std::vector<std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);
  bool is_stopping_ ABSL_GUARDED_BY(mu_) = false;

  // Last: it uses all of the above.
  std::thread thread_;
};

// Some such threads, which share the connections of a server.
//
// Thread safety: thread-safe.
class Poller {
 public:
  // Errors: those of PollThread::Start().
  static absl::StatusOr<std::unique_ptr<Poller>> Start(int threads,
                                                       absl::Duration spin);

  // The thread whose turn it is to take a new connection.
  PollThread& Next() {
    return *threads_[next_.fetch_add(1, std::memory_order_relaxed) %
                     threads_.size()];
  }

  // Stops all. Idempotent.
  void Stop();

 private:
  Poller() = default;

  std::vector<std::unique_ptr<PollThread>> threads_;
  std::atomic<std::size_t> next_{0};
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_FRAMES_POLLER_H_

// std::mutex, annotated for clang's thread safety analysis.
//
// absl::Mutex is not used: distributions ship Abseil without ThreadSanitizer
// instrumentation, and TSan then reports a race on every value it guards.

#ifndef TANDEM_RPC_BASE_MUTEX_H_
#define TANDEM_RPC_BASE_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tandem::rpc {

// A mutual exclusion lock with one condition to wait on.
//
// Thread safety: thread-safe.
class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mu_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mu_.unlock(); }

  // Waits, unlocked, until done() is true. `done` is called with the lock held,
  // each time NotifyAll() or NotifyOne() is.
  template <typename Done>
  void Await(Done done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    std::unique_lock<std::mutex> lock(mu_, std::adopt_lock);
    changed_.wait(lock, done);
    lock.release();  // The caller still holds the lock.
  }

  // The same for at most `timeout`; returns done(). A timeout of a year or more
  // (absl::InfiniteDuration() too) waits a year.
  template <typename Done>
  bool AwaitFor(absl::Duration timeout, Done done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    timeout = timeout < kLongest ? timeout : kLongest;
    std::unique_lock<std::mutex> lock(mu_, std::adopt_lock);
    const bool is_done =
        changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), done);
    lock.release();
    return is_done;
  }

  // The same until `deadline`.
  template <typename Done>
  bool AwaitUntil(absl::Time deadline, Done done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    return AwaitFor(deadline - absl::Now(), done);
  }

  void NotifyOne() { changed_.notify_one(); }
  void NotifyAll() { changed_.notify_all(); }

 private:
  static constexpr absl::Duration kLongest = absl::Hours(24 * 365);

  std::mutex mu_;
  std::condition_variable changed_;
};

// Holds a Mutex for the life of a scope.
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mu) ABSL_EXCLUSIVE_LOCK_FUNCTION(mu) : mu_(mu) {
    mu_.Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mu_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mu_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_BASE_MUTEX_H_

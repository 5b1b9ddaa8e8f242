// The threads that run handlers.

#ifndef TANDEM_RPC_SERVER_WORKER_POOL_H_
#define TANDEM_RPC_SERVER_WORKER_POOL_H_

#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "rpc/base/mutex.h"

namespace tandem::rpc {

// One piece of work. Intrusive, so that queueing allocates nothing: a call is
// its own job.
class Job {
 public:
  // Runs once, on a worker. The job may be gone when it returns.
  virtual void Run() = 0;

 protected:
  virtual ~Job() = default;

 private:
  friend class WorkerPool;
  Job* next_ = nullptr;
};

// A fixed number of threads and a bounded queue of jobs, run in order.
//
// Lifecycle: Stop() refuses new jobs, runs those that are queued, and waits for
// all that run; so a handler that hangs keeps Stop() waiting. The destructor
// stops.
//
// Thread safety: thread-safe. Jobs run without locks held; they may Submit, but
// not Stop.
class WorkerPool {
 public:
  WorkerPool(int workers, int max_queued);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Queues `job`, which lives until it has run. On an error it never runs:
  //   kResourceExhausted  the queue is full: call again later
  //   kUnavailable        the pool has stopped
  absl::Status Submit(Job* job) ABSL_LOCKS_EXCLUDED(mu_);

  // Jobs that wait for a worker.
  int queued() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return queued_;
  }

  // Idempotent; not to be called from two threads at once.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Work() ABSL_LOCKS_EXCLUDED(mu_);

  const int max_queued_;
  mutable Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  int queued_ ABSL_GUARDED_BY(mu_) = 0;
  Job* head_ ABSL_GUARDED_BY(mu_) = nullptr;
  Job* tail_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::vector<std::thread> workers_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_WORKER_POOL_H_

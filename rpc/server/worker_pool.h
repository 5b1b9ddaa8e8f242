// The threads that run handlers.

#ifndef TANDEM_RPC_SERVER_WORKER_POOL_H_
#define TANDEM_RPC_SERVER_WORKER_POOL_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <unordered_map>
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

// A fixed number of threads and a bounded queue of jobs. Those of a connection
// are begun in order, connections take turns.
//
// What one connection may have leaves room for others: at most half of the
// queue (but one job at least), and all but a quarter of the workers, rounded
// down: with fewer than four workers it may have them all. A pool for a single
// connection (Clients::kOne) keeps nothing back.
//
// Lifecycle: Stop() refuses new jobs, runs those that are queued, and waits for
// all that run; so a handler that hangs keeps Stop() waiting. The destructor
// stops.
//
// Thread safety: thread-safe. Jobs run without locks held; they may Submit, but
// not Stop.
class WorkerPool {
 public:
  enum class Clients : std::uint8_t { kOne, kMany };

  WorkerPool(int workers, int max_queued, Clients clients = Clients::kMany);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Queues `job` of the connection with that number (Caller::connection_id).
  // The job lives until it has run. On an error it never runs:
  //   kResourceExhausted  the queue is full, or the connection's share of it:
  //                       call again later
  //   kUnavailable        the pool has stopped
  absl::Status Submit(std::uint64_t connection, Job* job)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The same for several of the connection, in order. `queued` says how many
  // were; the others never run, for the error's reason.
  absl::Status Submit(std::uint64_t connection, std::span<Job* const> jobs,
                      std::size_t* queued) ABSL_LOCKS_EXCLUDED(mu_);

  // Jobs that wait for a worker.
  int queued() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return queued_;
  }

  // Connections with jobs that wait or run; nothing is kept of others.
  int connections() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return static_cast<int>(lines_.size());
  }

  // Idempotent; not to be called from two threads at once.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // The jobs of one connection.
  struct Line {
    std::uint64_t connection = 0;
    Job* head = nullptr;
    Job* tail = nullptr;
    int queued = 0;
    int running = 0;
    // Behind this one in turn, where a worker may take a job of it.
    Line* next = nullptr;
  };
  // Lines stay where they are.
  using Lines = std::unordered_map<std::uint64_t, Line>;

  void Work() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Queue(std::uint64_t connection, Job* job)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Sleeps until there is a job to take; false when the pool has stopped.
  bool AwaitJob() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whether to NotifyOne(), once unlocked. Workers are woken one after the
  // other, each by the one before: where jobs are short, few are.
  bool TakeWakeUp() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Line& LineOf(std::uint64_t connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // A worker may take a job of it: then it is in turn.
  bool IsReady(const Line& line) const {
    return line.queued > 0 && line.running < max_running_of_one_;
  }
  void Append(Line& line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes a job of the line whose turn it is; there must be one.
  Line& TakeJob(Job** job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // A job of `line` has run.
  void EndJob(Line& line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int max_queued_;
  const int max_queued_of_one_;
  const int max_running_of_one_;
  mutable Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  int queued_ ABSL_GUARDED_BY(mu_) = 0;
  // Workers that sleep, and of these one that was woken and does not run yet.
  int idle_ ABSL_GUARDED_BY(mu_) = 0;
  bool is_waking_ ABSL_GUARDED_BY(mu_) = false;
  // Those with jobs.
  Lines lines_ ABSL_GUARDED_BY(mu_);
  // For the next connections, so that most calls allocate nothing: a few.
  std::vector<Lines::node_type> spares_ ABSL_GUARDED_BY(mu_);
  // The lines that are ready, in turn.
  Line* first_ ABSL_GUARDED_BY(mu_) = nullptr;
  Line* last_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::vector<std::thread> workers_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_WORKER_POOL_H_

#include "rpc/server/worker_pool.h"

#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/mutex.h"
#include "rpc/testing/status_matchers.h"

namespace tandem::rpc {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FunctionJob final : public Job {
 public:
  explicit FunctionJob(std::function<void()> work) : work_(std::move(work)) {}
  void Run() override { work_(); }

 private:
  const std::function<void()> work_;
};

// A gate that jobs wait at.
class Gate {
 public:
  void Open() {
    MutexLock lock(mu_);
    is_open_ = true;
    mu_.NotifyAll();
  }
  void Wait() {
    MutexLock lock(mu_);
    ++waiting_;
    mu_.NotifyAll();
    mu_.Await([this] { return is_open_; });
  }
  // Until so many have come.
  bool AwaitWaiting(int count) {
    MutexLock lock(mu_);
    return mu_.AwaitFor(absl::Seconds(30), [&] { return waiting_ >= count; });
  }

 private:
  Mutex mu_;
  bool is_open_ = false;
  int waiting_ = 0;
};

TEST(WorkerPoolTest, RunsJobsInOrder) {
  std::vector<int> order;
  std::vector<std::unique_ptr<FunctionJob>> jobs;
  WorkerPool pool(1, 100);
  for (int i = 0; i < 5; ++i) {
    jobs.push_back(
        std::make_unique<FunctionJob>([&order, i] { order.push_back(i); }));
    ASSERT_THAT(pool.Submit(jobs.back().get()), IsOk());
  }
  pool.Stop();
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4));
}

TEST(WorkerPoolTest, RunsAsManyJobsAtOnceAsItHasWorkers) {
  Gate gate;
  FunctionJob a([&] { gate.Wait(); });
  FunctionJob b([&] { gate.Wait(); });
  WorkerPool pool(2, 100);
  ASSERT_THAT(pool.Submit(&a), IsOk());
  ASSERT_THAT(pool.Submit(&b), IsOk());
  EXPECT_TRUE(gate.AwaitWaiting(2));
  gate.Open();
}

TEST(WorkerPoolTest, FullQueueRefusesUntilThereIsRoom) {
  Gate gate;
  std::atomic<int> runs{0};
  FunctionJob running([&] { gate.Wait(); });
  FunctionJob queued([&] { ++runs; });
  FunctionJob refused([&] { ++runs; });
  WorkerPool pool(1, 1);
  ASSERT_THAT(pool.Submit(&running), IsOk());
  ASSERT_TRUE(gate.AwaitWaiting(1));
  ASSERT_THAT(pool.Submit(&queued), IsOk());
  EXPECT_THAT(
      pool.Submit(&refused),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("1 calls")));
  gate.Open();
  pool.Stop();
  EXPECT_EQ(runs, 1);
}

TEST(WorkerPoolTest, StopRunsWhatIsQueuedAndRefusesTheRest) {
  Gate gate;
  std::atomic<int> runs{0};
  FunctionJob running([&] { gate.Wait(); });
  std::vector<std::unique_ptr<FunctionJob>> queued;
  WorkerPool pool(1, 100);
  ASSERT_THAT(pool.Submit(&running), IsOk());
  for (int i = 0; i < 10; ++i) {
    queued.push_back(std::make_unique<FunctionJob>([&] { ++runs; }));
    ASSERT_THAT(pool.Submit(queued.back().get()), IsOk());
  }
  gate.Open();
  pool.Stop();
  EXPECT_EQ(runs, 10);
  FunctionJob refused([&] { ++runs; });
  EXPECT_THAT(pool.Submit(&refused), StatusIs(absl::StatusCode::kUnavailable));
}

TEST(WorkerPoolTest, ManySubmittersLoseNoJob) {
  constexpr int kThreads = 4;
  constexpr int kJobs = 2000;
  std::atomic<int> runs{0};
  class CountingJob final : public Job {
   public:
    explicit CountingJob(std::atomic<int>& runs) : runs_(runs) {}
    void Run() override {
      ++runs_;
      delete this;
    }

   private:
    std::atomic<int>& runs_;
  };
  WorkerPool pool(3, kThreads * kJobs);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kJobs; ++i) {
        EXPECT_THAT(pool.Submit(new CountingJob(runs)), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  pool.Stop();
  EXPECT_EQ(runs, kThreads * kJobs);
}

}  // namespace
}  // namespace tandem::rpc

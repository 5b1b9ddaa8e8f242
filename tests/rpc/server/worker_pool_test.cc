#include "rpc/server/worker_pool.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
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

// Connections.
constexpr std::uint64_t kOne = 7;
constexpr std::uint64_t kOther = 8;
constexpr std::uint64_t kThird = 9;

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
  int waiting() {
    MutexLock lock(mu_);
    return waiting_;
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
    ASSERT_THAT(pool.Submit(kOne, jobs.back().get()), IsOk());
  }
  pool.Stop();
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4));
}

TEST(WorkerPoolTest, RunsAsManyJobsAtOnceAsItHasWorkers) {
  Gate gate;
  FunctionJob a([&] { gate.Wait(); });
  FunctionJob b([&] { gate.Wait(); });
  WorkerPool pool(2, 100);
  ASSERT_THAT(pool.Submit(kOne, &a), IsOk());
  ASSERT_THAT(pool.Submit(kOne, &b), IsOk());
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
  ASSERT_THAT(pool.Submit(kOne, &running), IsOk());
  ASSERT_TRUE(gate.AwaitWaiting(1));
  ASSERT_THAT(pool.Submit(kOne, &queued), IsOk());
  EXPECT_THAT(
      pool.Submit(kOne, &refused),
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
  ASSERT_THAT(pool.Submit(kOne, &running), IsOk());
  for (int i = 0; i < 10; ++i) {
    queued.push_back(std::make_unique<FunctionJob>([&] { ++runs; }));
    ASSERT_THAT(pool.Submit(kOne, queued.back().get()), IsOk());
  }
  gate.Open();
  pool.Stop();
  EXPECT_EQ(runs, 10);
  FunctionJob refused([&] { ++runs; });
  EXPECT_THAT(pool.Submit(kOne, &refused),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST(WorkerPoolTest, ConnectionsTakeTurns) {
  Gate gate;
  std::string order;
  std::vector<std::unique_ptr<FunctionJob>> jobs;
  FunctionJob running([&] { gate.Wait(); });
  WorkerPool pool(1, 100);
  ASSERT_THAT(pool.Submit(kOne, &running), IsOk());
  ASSERT_TRUE(gate.AwaitWaiting(1));
  const auto submit = [&](std::uint64_t connection, char name) {
    jobs.push_back(
        std::make_unique<FunctionJob>([&order, name] { order += name; }));
    ASSERT_THAT(pool.Submit(connection, jobs.back().get()), IsOk());
  };
  // While a job of the first runs, its next waits for that.
  for (const char name : {'a', 'b', 'c', 'd'}) submit(kOne, name);
  for (const char name : {'1', '2'}) submit(kOther, name);
  submit(kThird, '!');
  gate.Open();
  pool.Stop();
  EXPECT_EQ(order, "1!a2bcd");
}

TEST(WorkerPoolTest, AConnectionLeavesWorkersToOthers) {
  Gate gate;
  Gate other_gate;
  std::vector<std::unique_ptr<FunctionJob>> jobs;
  FunctionJob a([&] { other_gate.Wait(); });
  FunctionJob b([&] { other_gate.Wait(); });
  WorkerPool pool(8, 100);
  for (int i = 0; i < 10; ++i) {
    jobs.push_back(std::make_unique<FunctionJob>([&] { gate.Wait(); }));
    ASSERT_THAT(pool.Submit(kOne, jobs.back().get()), IsOk());
  }
  ASSERT_TRUE(gate.AwaitWaiting(6));
  // Both run at once, though the first connection has more.
  ASSERT_THAT(pool.Submit(kOther, &a), IsOk());
  ASSERT_THAT(pool.Submit(kThird, &b), IsOk());
  EXPECT_TRUE(other_gate.AwaitWaiting(2));
  EXPECT_EQ(gate.waiting(), 6);
  EXPECT_EQ(pool.queued(), 4);
  other_gate.Open();
  gate.Open();
  EXPECT_TRUE(gate.AwaitWaiting(10));
}

TEST(WorkerPoolTest, TheConnectionOfAPoolForOneHasAllWorkersAndTheWholeQueue) {
  Gate gate;
  std::vector<std::unique_ptr<FunctionJob>> jobs;
  WorkerPool pool(4, 4, WorkerPool::Clients::kOne);
  const auto submit = [&] {
    jobs.push_back(std::make_unique<FunctionJob>([&] { gate.Wait(); }));
    return pool.Submit(kOne, jobs.back().get());
  };
  for (int i = 0; i < 4; ++i) ASSERT_THAT(submit(), IsOk());
  ASSERT_TRUE(gate.AwaitWaiting(4));
  for (int i = 0; i < 4; ++i) EXPECT_THAT(submit(), IsOk());
  EXPECT_THAT(submit(), StatusIs(absl::StatusCode::kResourceExhausted,
                                 HasSubstr("4 calls wait")));
  gate.Open();
}

TEST(WorkerPoolTest, BeyondItsShareOfTheQueueAConnectionIsRefusedByName) {
  Gate gate;
  std::vector<std::unique_ptr<FunctionJob>> jobs;
  WorkerPool pool(1, 4);
  const auto submit = [&](std::uint64_t connection) {
    jobs.push_back(std::make_unique<FunctionJob>([&] { gate.Wait(); }));
    return pool.Submit(connection, jobs.back().get());
  };
  ASSERT_THAT(submit(kOne), IsOk());
  ASSERT_TRUE(gate.AwaitWaiting(1));
  EXPECT_THAT(submit(kOne), IsOk());
  EXPECT_THAT(submit(kOne), IsOk());
  EXPECT_THAT(submit(kOne), StatusIs(absl::StatusCode::kResourceExhausted,
                                     HasSubstr("connection 7 has its share")));
  EXPECT_THAT(submit(kOther), IsOk());
  EXPECT_THAT(submit(kThird), IsOk());
  EXPECT_THAT(submit(kThird), StatusIs(absl::StatusCode::kResourceExhausted,
                                       HasSubstr("4 calls wait")));
  gate.Open();
}

TEST(WorkerPoolTest, ConnectionsWithoutJobsAreForgotten) {
  Gate gate;
  Gate late_gate;
  std::vector<std::unique_ptr<FunctionJob>> jobs;
  WorkerPool pool(4, 1000);
  const auto submit = [&](std::uint64_t connection, Gate& at) {
    jobs.push_back(std::make_unique<FunctionJob>([&at] { at.Wait(); }));
    ASSERT_THAT(pool.Submit(connection, jobs.back().get()), IsOk());
  };
  for (int i = 1; i <= 100; ++i) submit(i, gate);
  EXPECT_EQ(pool.connections(), 100);
  gate.Open();
  ASSERT_TRUE(gate.AwaitWaiting(100));
  // The same connections, and others, come again.
  for (int i = 51; i <= 150; ++i) submit(i, late_gate);
  late_gate.Open();
  pool.Stop();
  EXPECT_EQ(late_gate.waiting(), 100);
  EXPECT_EQ(pool.connections(), 0);
}

TEST(WorkerPoolTest, StopRunsWhatOneConnectionHasQueued) {
  Gate gate;
  std::vector<std::unique_ptr<FunctionJob>> jobs;
  WorkerPool pool(4, 100);
  for (int i = 0; i < 20; ++i) {
    jobs.push_back(std::make_unique<FunctionJob>([&] { gate.Wait(); }));
    ASSERT_THAT(pool.Submit(kOne, jobs.back().get()), IsOk());
  }
  ASSERT_TRUE(gate.AwaitWaiting(3));
  std::thread stopper([&] { pool.Stop(); });
  gate.Open();
  stopper.join();
  EXPECT_EQ(gate.waiting(), 20);
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
    threads.emplace_back([&, t] {
      for (int i = 0; i < kJobs; ++i) {
        EXPECT_THAT(pool.Submit(t, new CountingJob(runs)), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  pool.Stop();
  EXPECT_EQ(runs, kThreads * kJobs);
}

}  // namespace
}  // namespace tandem::rpc

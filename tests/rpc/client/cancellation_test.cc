#include "rpc/client/cancellation.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

TEST(CancellationTest, RunsEachCallbackOnce) {
  Cancellation cancellation;
  int runs = 0;
  cancellation.Add([&] { ++runs; });
  cancellation.Add([&] { ++runs; });
  EXPECT_FALSE(cancellation.is_cancelled());
  cancellation.Cancel();
  cancellation.Cancel();
  EXPECT_TRUE(cancellation.is_cancelled());
  EXPECT_EQ(runs, 2);
}

TEST(CancellationTest, RunsACallbackThatComesLateAtOnce) {
  Cancellation cancellation;
  cancellation.Cancel();
  int runs = 0;
  cancellation.Remove(cancellation.Add([&] { ++runs; }));
  EXPECT_EQ(runs, 1);
}

TEST(CancellationTest, DoesNotRunWhatWasRemoved) {
  Cancellation cancellation;
  int runs = 0;
  cancellation.Remove(cancellation.Add([&] { ++runs; }));
  cancellation.Cancel();
  EXPECT_EQ(runs, 0);
}

TEST(CancellationTest, CallbackMayRemoveItself) {
  Cancellation cancellation;
  std::uint64_t key = 0;
  bool is_run = false;
  key = cancellation.Add([&] {
    cancellation.Remove(key);
    is_run = true;
  });
  cancellation.Cancel();
  EXPECT_TRUE(is_run);
}

TEST(CancellationTest, RemoveWaitsForTheCallbackThatRuns) {
  for (int i = 0; i < 200; ++i) {
    Cancellation cancellation;
    std::atomic<bool> is_alive{true};
    std::atomic<bool> ran_dead{false};
    std::atomic<bool> has_begun{false};
    const std::uint64_t key = cancellation.Add([&] {
      has_begun = true;
      std::this_thread::yield();
      if (!is_alive) ran_dead = true;
    });
    std::thread canceller([&] { cancellation.Cancel(); });
    while (!has_begun) std::this_thread::yield();
    cancellation.Remove(key);
    is_alive = false;
    canceller.join();
    EXPECT_FALSE(ran_dead);
  }
}

TEST(CancellationTest, CopiesAreTheSameSwitchAndOutliveEachOther) {
  auto first = std::make_unique<Cancellation>();
  Cancellation copy = *first;
  bool is_told = false;
  const std::uint64_t key = copy.Add([&] { is_told = true; });
  first->Cancel();
  EXPECT_TRUE(is_told);
  first.reset();
  EXPECT_TRUE(copy.is_cancelled());
  copy.Remove(key);
}

}  // namespace
}  // namespace tandem::rpc

#include "rpc/base/mutex.h"

#include <thread>

#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

struct Flag {
  Mutex mu;
  bool set ABSL_GUARDED_BY(mu) = false;
};

TEST(MutexTest, AwaitReturnsOnceTheConditionHolds) {
  Flag flag;
  std::thread setter([&] {
    MutexLock lock(flag.mu);
    flag.set = true;
    flag.mu.NotifyAll();
  });
  {
    MutexLock lock(flag.mu);
    flag.mu.Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return flag.set; });
    EXPECT_TRUE(flag.set);
  }
  setter.join();
}

TEST(MutexTest, AwaitForGivesUpAndSaysSo) {
  Flag flag;
  MutexLock lock(flag.mu);
  EXPECT_FALSE(flag.mu.AwaitFor(absl::Milliseconds(1), [] { return false; }));
  EXPECT_TRUE(flag.mu.AwaitFor(absl::ZeroDuration(), [] { return true; }));
}

TEST(MutexTest, AwaitUntilThePastLooksOnce) {
  Flag flag;
  MutexLock lock(flag.mu);
  EXPECT_FALSE(flag.mu.AwaitUntil(absl::InfinitePast(), [] { return false; }));
}

TEST(MutexTest, AnInfiniteTimeoutDoesNotOverflow) {
  Flag flag;
  std::thread setter([&] {
    MutexLock lock(flag.mu);
    flag.set = true;
    flag.mu.NotifyAll();
  });
  {
    MutexLock lock(flag.mu);
    EXPECT_TRUE(flag.mu.AwaitFor(
        absl::InfiniteDuration(),
        [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return flag.set; }));
  }
  setter.join();
}

}  // namespace
}  // namespace tandem::rpc

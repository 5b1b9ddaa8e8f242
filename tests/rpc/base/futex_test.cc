#include "rpc/base/futex.h"

#include <thread>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

// Two threads pass the word on. One that is not woken sleeps for its deadline.
TEST(FutexTest, WhoSleepsIsWoken) {
  constexpr std::uint32_t kTurns = 1000;
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  std::atomic<std::uint32_t> word{0};
  const auto pass = [&](std::uint32_t first) {
    for (std::uint32_t turn = first; turn < kTurns; turn += 2) {
      for (std::uint32_t seen = word; seen != turn; seen = word) {
        if (absl::Now() >= deadline) return;
        SleepWhile(word, seen, deadline);
      }
      word = turn + 1;
      WakeSleeper(&word);
    }
  };
  std::thread other([&] { pass(1); });
  pass(0);
  other.join();
  EXPECT_LT(absl::Now(), deadline);
  EXPECT_EQ(word, kTurns);
}

TEST(FutexTest, AWordThatChangedIsNotSleptFor) {
  const std::atomic<std::uint32_t> word{1};
  SleepWhile(word, 0, absl::InfiniteFuture());
}

TEST(FutexTest, ADeadlinePasses) {
  const std::atomic<std::uint32_t> word{0};
  const absl::Time deadline = absl::Now() + absl::Milliseconds(5);
  while (absl::Now() < deadline) SleepWhile(word, 0, deadline);
  SleepWhile(word, 0, absl::InfinitePast());
}

TEST(FutexTest, AWordThatIsGoneMayBeToldOf) {
  const auto* word = new std::atomic<std::uint32_t>(0);
  delete word;
  WakeSleeper(word);
}

}  // namespace
}  // namespace tandem::rpc

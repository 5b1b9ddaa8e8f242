#include "rpc/base/futex.h"

#include <thread>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

TEST(FutexTest, WhoSleepsIsWoken) {
  std::atomic<std::uint32_t> word{0};
  std::thread sleeper([&word] {
    while (word == 0) SleepWhile(word, 0, absl::InfiniteFuture());
  });
  word = 1;
  WakeSleeper(&word);
  sleeper.join();
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

#include "rpc/server/termination.h"

#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "tests/support/child.h"

namespace tandem::rpc {
namespace {

using testing::IsOk;
using testing::StatusIs;

// What `body` did to a child: its result, or -1 when a signal ended it.
int InChild(const std::function<int()>& body) {
  return test::Child(body).Wait();
}

TEST(TerminationTest, WaitGivesUpWithoutASignal) {
  const auto termination = Termination::Create();
  ASSERT_THAT(termination, IsOk());
  EXPECT_FALSE((*termination)->Wait(absl::ZeroDuration()));
  EXPECT_FALSE((*termination)->Wait(absl::Milliseconds(5)));
  EXPECT_EQ((*termination)->signal(), 0);
}

TEST(TerminationTest, BothSignalsAreNoticedAndStayNoticed) {
  for (const int signal : {SIGTERM, SIGINT}) {
    EXPECT_EQ(InChild([signal] {
                const auto termination = Termination::Create();
                ::raise(signal);
                pollfd event{(*termination)->fd(), POLLIN, 0};
                const bool noticed =
                    (*termination)->Wait(absl::InfiniteDuration()) &&
                    (*termination)->Wait(absl::ZeroDuration()) &&
                    ::poll(&event, 1, 0) == 1 &&
                    (*termination)->signal() == signal;
                return noticed ? 0 : 1;
              }),
              0);
  }
}

TEST(TerminationTest, AWaitEndsWithTheSignalOnWhateverThread) {
  EXPECT_EQ(InChild([] {
              // Begun before, so its signals are not blocked either.
              std::thread other([] { ::kill(::getppid(), 0); });
              const auto termination = Termination::Create();
              std::thread sender([] { ::kill(::getpid(), SIGTERM); });
              const bool noticed =
                  (*termination)->Wait(absl::InfiniteDuration());
              other.join();
              sender.join();
              return noticed ? 0 : 1;
            }),
            0);
}

TEST(TerminationTest, TheSecondSignalEndsTheProcess) {
  EXPECT_EQ(InChild([] {
              const auto termination = Termination::Create();
              ::raise(SIGINT);
              ::raise(SIGINT);
              return 0;
            }),
            -1);
}

TEST(TerminationTest, ARequestIsNoSignal) {
  EXPECT_EQ(InChild([] {
              const auto termination = Termination::Create();
              ::raise(SIGTERM);
              (*termination)->Request();
              (*termination)->Request();
              return (*termination)->signal() == SIGTERM ? 0 : 1;
            }),
            0);
  EXPECT_EQ(InChild([] {
              const auto termination = Termination::Create();
              (*termination)->Request();
              const bool ends = (*termination)->Wait(absl::ZeroDuration());
              ::raise(SIGTERM);
              return ends && (*termination)->signal() == SIGTERM ? 0 : 1;
            }),
            0);
}

TEST(TerminationTest, AnIgnoredSignalStaysIgnored) {
  EXPECT_EQ(InChild([] {
              ::signal(SIGINT, SIG_IGN);
              const auto termination = Termination::Create();
              ::raise(SIGINT);
              return (*termination)->Wait(absl::ZeroDuration()) ? 1 : 0;
            }),
            0);
}

TEST(TerminationTest, AfterItSignalsEndTheProcessAgain) {
  EXPECT_EQ(InChild([] {
              Termination::Create().value().reset();
              ::raise(SIGTERM);
              return 0;
            }),
            -1);
}

TEST(TerminationTest, ThereIsOneAtATime) {
  auto first = Termination::Create();
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(Termination::Create(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  first->reset();
  EXPECT_THAT(Termination::Create(), IsOk());
}

}  // namespace
}  // namespace tandem::rpc

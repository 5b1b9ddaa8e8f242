// Linked into every test program: a test fails that leaves a socket open which
// was not there when it began, be it a listener's, a connection's or one that
// was handed on. What closes them may be another thread, so it is waited for.

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/descriptors.h"

namespace tandem::test {
namespace {

constexpr absl::Duration kGenerous = absl::Seconds(10);

std::set<std::string> OpenSockets() {
  std::set<std::string> sockets;
  for (const auto& [fd, what] : OpenDescriptors()) {
    if (absl::StartsWith(what, "socket:")) sockets.insert(what);
  }
  return sockets;
}

class NoSocketLeft final : public ::testing::EmptyTestEventListener {
 public:
  void OnTestStart(const ::testing::TestInfo&) override {
    before_ = OpenSockets();
  }

  // After the test's fixture is gone.
  void OnTestEnd(const ::testing::TestInfo&) override {
    std::vector<std::string> left = New();
    const absl::Time deadline = absl::Now() + kGenerous;
    while (!left.empty() && absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(1));
      left = New();
    }
    EXPECT_TRUE(left.empty()) << "left open: " << absl::StrJoin(left, ", ");
  }

 private:
  std::vector<std::string> New() const {
    const std::set<std::string> now = OpenSockets();
    std::vector<std::string> added;
    std::set_difference(now.begin(), now.end(), before_.begin(), before_.end(),
                        std::back_inserter(added));
    return added;
  }

  std::set<std::string> before_;
};

// gtest owns it.
[[maybe_unused]] const bool is_listening = [] {
  ::testing::UnitTest::GetInstance()->listeners().Append(new NoSocketLeft);
  return true;
}();

}  // namespace
}  // namespace tandem::test

#include "rpc/base/unique_fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

UniqueFd Open() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }
bool IsOpen(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

TEST(UniqueFdTest, ClosesWhatItOwns) {
  int number;
  {
    const UniqueFd fd = Open();
    number = fd.get();
    EXPECT_TRUE(IsOpen(number));
  }
  EXPECT_FALSE(IsOpen(number));
}

TEST(UniqueFdTest, OwnsNothingAtFirst) {
  const UniqueFd fd;
  EXPECT_FALSE(fd.is_valid());
  EXPECT_EQ(fd.get(), -1);
}

TEST(UniqueFdTest, ReleaseLeavesTheClosingToTheCaller) {
  UniqueFd fd = Open();
  const int number = fd.Release();
  EXPECT_FALSE(fd.is_valid());
  EXPECT_TRUE(IsOpen(number));
  ::close(number);
}

TEST(UniqueFdTest, MovingLeavesNothingBehind) {
  UniqueFd one = Open();
  const int number = one.get();
  UniqueFd two = std::move(one);
  EXPECT_FALSE(one.is_valid());
  EXPECT_EQ(two.get(), number);
  EXPECT_TRUE(IsOpen(number));
}

TEST(UniqueFdTest, AssigningClosesWhatWasOwned) {
  UniqueFd one = Open();
  const int number = one.get();
  UniqueFd two = Open();
  const int kept = two.get();
  one = std::move(two);
  EXPECT_FALSE(IsOpen(number));
  EXPECT_TRUE(IsOpen(kept));
}

TEST(UniqueFdTest, AssigningItselfKeepsIt) {
  UniqueFd fd = Open();
  UniqueFd& same = fd;
  fd = std::move(same);
  EXPECT_TRUE(IsOpen(fd.get()));
}

}  // namespace
}  // namespace tandem::rpc

#include "rpc/server/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/unique_fd.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/descriptors.h"

namespace tandem::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStdout;

class NotifyTest : public ::testing::Test {
 protected:
  ~NotifyTest() override { ::unsetenv("NOTIFY_SOCKET"); }

  // The manager's end, bound to `name`, which is written as `variable`.
  void Listen(const std::string& name, const std::string& variable) {
    manager_ = UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    ASSERT_EQ(::bind(manager_.get(), reinterpret_cast<sockaddr*>(&address),
                     offsetof(sockaddr_un, sun_path) + name.size()),
              0);
    ::setenv("NOTIFY_SOCKET", variable.c_str(), 1);
  }

  std::string Received() const {
    char text[1000];
    const ssize_t size =
        ::recv(manager_.get(), text, sizeof(text), MSG_DONTWAIT);
    return size < 0 ? "nothing" : std::string(text, size);
  }

  // What is logged when the variable has that value.
  static std::string LoggedWith(const std::string& variable) {
    ::setenv("NOTIFY_SOCKET", variable.c_str(), 1);
    CaptureStdout();
    NotifyReady("listening");
    return GetCapturedStdout();
  }

  testing::TempDir dir_;
  UniqueFd manager_;
};

TEST_F(NotifyTest, TheManagerIsTold) {
  Listen(dir_.File("notify"), dir_.File("notify"));
  const auto before = test::OpenDescriptors();
  NotifyReady("listening on unix:/run/kv.sock");
  EXPECT_EQ(Received(), "READY=1\nSTATUS=listening on unix:/run/kv.sock");
  NotifyStatus("at height 7");
  EXPECT_EQ(Received(), "STATUS=at height 7");
  NotifyStopping();
  EXPECT_EQ(Received(), "STOPPING=1");
  EXPECT_EQ(Received(), "nothing");
  EXPECT_EQ(test::OpenDescriptors(), before);
}

TEST_F(NotifyTest, AnAbstractNameIsAPlaceToo) {
  const std::string name = dir_.File("notify");
  Listen(std::string(1, '\0') + name, "@" + name);
  NotifyStopping();
  EXPECT_EQ(Received(), "STOPPING=1");
}

TEST_F(NotifyTest, AStatusIsOneLine) {
  Listen(dir_.File("notify"), dir_.File("notify"));
  NotifyStatus("fine\nMAINPID=1");
  EXPECT_EQ(Received(), "STATUS=fine MAINPID=1");
}

TEST_F(NotifyTest, WithoutAManagerNothingHappens) {
  ::unsetenv("NOTIFY_SOCKET");
  CaptureStdout();
  NotifyReady("listening");
  NotifyStopping();
  EXPECT_THAT(GetCapturedStdout(), IsEmpty());
  EXPECT_THAT(LoggedWith(""), IsEmpty());
}

TEST_F(NotifyTest, AManagerThatIsNotThereIsLogged) {
  EXPECT_THAT(LoggedWith(dir_.File("none")), HasSubstr(dir_.File("none")));
  EXPECT_THAT(LoggedWith("@" + dir_.File("none")), HasSubstr("refused"));
  EXPECT_THAT(LoggedWith("vsock:2:1"), HasSubstr("neither a path"));
  EXPECT_THAT(LoggedWith("/" + std::string(107, 'x')),
              HasSubstr("neither a path"));
}

TEST_F(NotifyTest, AManagerThatDoesNotReadIsNotWaitedForLong) {
  Listen(dir_.File("notify"), dir_.File("notify"));
  std::string logged;
  for (int i = 0; i < 10000 && logged.empty(); ++i) {
    logged = LoggedWith(dir_.File("notify"));
  }
  EXPECT_THAT(logged, HasSubstr("was not told"));
}

}  // namespace
}  // namespace tandem::rpc

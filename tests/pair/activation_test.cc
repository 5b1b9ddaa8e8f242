// Programs that a service manager starts: with sockets of its making, and told
// of what becomes of them.

#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/unique_fd.h"
#include "rpc/client/channel.h"
#include "rpc/testing/process.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/raw_socket.h"
#include "tests/support/trace.h"

namespace tandem {
namespace {

using rpc::UniqueFd;
using rpc::testing::IsOk;
using rpc::testing::IsOkAndHolds;
using rpc::testing::Process;
using ::testing::StartsWith;

class ActivationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    listening_ = test::BindTo(dir_.File("app.sock"), SOCK_STREAM);
    ASSERT_EQ(::listen(listening_.get(), 8), 0);
    notify_ = test::BindTo(dir_.File("notify"), SOCK_DGRAM | SOCK_CLOEXEC);
    const timeval limit{.tv_sec = 30, .tv_usec = 0};
    ASSERT_EQ(::setsockopt(notify_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit,
                           sizeof(limit)),
              0);
  }

  // As systemd does: the socket is descriptor 3, the program's pid is said.
  std::unique_ptr<Process> Activate(std::vector<std::string> command) const {
    command.insert(command.begin(),
                   {"/bin/bash", "-c",
                    absl::StrCat("LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&",
                                 listening_.get())});
    auto process = Process::Start(
        {.command = std::move(command),
         .log_path = dir_.File("log"),
         .environment = {"LISTEN_FDS=1", "LISTEN_FDNAMES=app",
                         "NOTIFY_SOCKET=" + dir_.File("notify")}});
    EXPECT_THAT(process, IsOk());
    return process.ok() ? *std::move(process) : nullptr;
  }

  // The next thing that the program says; waits for it.
  std::string Notified() const {
    char text[1000];
    const ssize_t size = ::recv(notify_.get(), text, sizeof(text), 0);
    return size < 0 ? "nothing" : std::string(text, size);
  }

  rpc::testing::TempDir dir_;
  UniqueFd listening_;
  UniqueFd notify_;
};

TEST_F(ActivationTest, AProgramServesTheManagersSocketAndTellsIt) {
  for (int start = 0; start < 2; ++start) {
    const auto app = Activate({TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                               "systemd:app", "--data", dir_.File("data")});
    ASSERT_NE(app, nullptr);
    EXPECT_EQ(Notified(),
              "READY=1\nSTATUS=listening on " + dir_.Address("app.sock"));
    const auto channel = rpc::Channel::Connect(dir_.Address("app.sock"));
    ASSERT_THAT(channel, IsOk());
    EXPECT_THAT((*channel)->WaitForConnected(absl::Seconds(30)), IsOk());
    ASSERT_THAT(app->Signal(SIGTERM), IsOk());
    EXPECT_EQ(Notified(), "STOPPING=1");
    EXPECT_THAT(app->Wait(absl::Seconds(30)), IsOkAndHolds(0));
    EXPECT_TRUE(std::filesystem::exists(dir_.File("app.sock")))
        << "it is the manager's";
  }
}

TEST_F(ActivationTest, TheNodeIsOneToo) {
  const auto app = Process::Start(
      {.command = {TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                   dir_.Address("kv.sock"), "--data", dir_.File("data")},
       .log_path = dir_.File("app.log")});
  ASSERT_THAT(app, IsOk());
  const auto node =
      Activate({TANDEM_BIN_DIR "/tandem-node", "--app", dir_.Address("kv.sock"),
                "--listen", "systemd:", "--data", dir_.File("node"), "--record",
                dir_.File("trace")});
  ASSERT_NE(node, nullptr);
  EXPECT_THAT(Notified(), StartsWith("READY=1\n"));
  ASSERT_THAT(node->Signal(SIGTERM), IsOk());
  EXPECT_EQ(Notified(), "STOPPING=1");
  EXPECT_THAT(node->Wait(absl::Seconds(30)), IsOkAndHolds(0));
  EXPECT_THAT(ViolationsIn(dir_.File("trace")), ::testing::IsEmpty());
}

}  // namespace
}  // namespace tandem

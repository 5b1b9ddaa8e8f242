#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "rpc/base/unique_fd.h"
#include "rpc/socket/dial.h"
#include "tests/cli/cli.h"

namespace tandem::node::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

TEST(StatusTest, SaysHowTheNodeIs) {
  Cli cli;
  const auto up = cli.Up();
  cli.Run({"submit"}, "a=1\n");
  const auto objects = cli.Run({"status", "--json"}).Objects();
  ASSERT_THAT(objects, SizeIs(1));
  const auto& status = objects[0];
  EXPECT_EQ(status["address"], Cli::Ready(*up)["node"]["address"]);
  EXPECT_THAT(status["server"]["name"], StartsWith("tandem-node"));
  EXPECT_EQ(status["server"]["caller"]["uid"], ::geteuid());
  EXPECT_TRUE(status["server"]["services"].contains("tandem.node.v1.Node"));
  EXPECT_GT(status["chain"]["height"], 0);
  EXPECT_EQ(status["app"]["state"], "RUNNING");
  EXPECT_EQ(status["mempool"]["transactions"], 0);
  // The application's words of then: it has a transaction by now.
  EXPECT_EQ(status["app"]["data_when_connected"], "{\"size\":0}");
}

TEST(StatusTest, SaysWhoTheApplicationIs) {
  Cli cli;
  const auto up = cli.Up();
  const std::string address = Cli::Ready(*up)["app"]["address"];
  const Outcome outcome = cli.Run({"status", address});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("tandem-kvstore"));
  EXPECT_THAT(outcome.out, HasSubstr("tendermint.abci.ABCI"));
}

TEST(StatusTest, AFileThatIsNoSocketIsAnError) {
  Cli cli;
  std::ofstream(cli.File("file")) << "precious";
  const Outcome outcome = cli.Run({"status", "unix:" + cli.File("file")});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr(cli.File("file")));
}

TEST(StatusTest, AnAddressThatIsNoneIsAnError) {
  Cli cli;
  const Outcome outcome = cli.Run({"status", "localhost:80"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("localhost:80"));
}

TEST(StatusTest, AStoppedPairIsNotThere) {
  Cli cli;
  const auto up = cli.Up();
  up->Signal(SIGTERM);
  ASSERT_EQ(up->Wait().status, 0);
  const Outcome outcome = cli.Run({"status"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("no pair runs in " + cli.data()));
}

TEST(StatusTest, AServerOfAnotherUserIsExplained) {
  Cli cli;
  const auto up = cli.Up();
  const Outcome outcome = cli.Run({"status", "--server-uid", "54321"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("not as uid 54321"),
                    HasSubstr(absl::StrCat("say --server-uid ", ::geteuid()))));
}

// Binds a socket whose queue takes one connection.
rpc::UniqueFd Listen(const std::string& path) {
  rpc::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                   sizeof(address)),
            0);
  EXPECT_EQ(::listen(fd.get(), 0), 0);
  return fd;
}

TEST(StatusTest, OneIsToldToStartAPairOnlyWhereNobodyListens) {
  Cli cli;
  const std::string path = cli.File("kv.sock");
  const std::string address = "unix:" + path;
  const auto advice = AllOf(HasSubstr("`tandem doctor " + address + "`"),
                            Not(HasSubstr("tandem up")));
  const rpc::UniqueFd listening = Listen(path);
  const auto queued = rpc::Dial(*rpc::UnixAddress::Parse(address), ::geteuid(),
                                absl::InfinitePast());
  ASSERT_TRUE(queued.ok()) << queued.status();
  const Outcome full = cli.Run({"query", "--node", address, "key"});
  EXPECT_EQ(full.status, 1);
  EXPECT_THAT(full.err, AllOf(HasSubstr("its queue is full"), advice));

  // As a server whose access policy does not let us in.
  std::jthread server([&listening](std::stop_token stop) {
    while (!stop.stop_requested()) {
      pollfd next{.fd = listening.get(), .events = POLLIN, .revents = 0};
      if (::poll(&next, 1, 10) != 1) continue;
      rpc::UniqueFd(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
  });
  const Outcome refused = cli.Run({"query", "--node", address, "key"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, advice);
}

TEST(StatusTest, AnAddressIsNamedOnce) {
  Cli cli;
  const auto up = cli.Up();
  const std::string app = Cli::Ready(*up)["app"]["address"];
  const Outcome outcome = cli.Run({"query", "--node", app, "key"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("is it a node?"));
  const std::size_t first = outcome.err.find(app);
  ASSERT_NE(first, std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find(app, first + 1), std::string::npos) << outcome.err;
}

TEST(HelpTest, EveryCommandShowsAnExample) {
  Cli cli;
  for (const char* command :
       {"up", "submit", "query", "status", "watch", "doctor"}) {
    const Outcome outcome = cli.Run({command, "--help"});
    EXPECT_EQ(outcome.status, 0) << command;
    EXPECT_THAT(outcome.out, HasSubstr("Example:")) << command;
    EXPECT_THAT(outcome.out, HasSubstr("--json")) << command;
  }
}

TEST(HelpTest, WhatIsNotUnderstoodIsAUsageError) {
  Cli cli;
  EXPECT_EQ(cli.Run({}).status, 2);
  EXPECT_EQ(cli.Run({"fly"}).status, 2);
  EXPECT_EQ(cli.Run({"submit", "--wait", "forever"}).status, 2);
  EXPECT_EQ(cli.Run({"--version"}).status, 0);
}

}  // namespace
}  // namespace tandem::node::testing

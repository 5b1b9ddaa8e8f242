#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rpc/base/unique_fd.h"
#include "rpc/client/channel.h"
#include "rpc/socket/dial.h"
#include "rpc/testing/process.h"
#include "rpc/testing/status_matchers.h"
#include "tests/cli/cli.h"
#include "tests/support/raw_socket.h"

namespace tandem::node::testing {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::testing::AllOf;
using ::testing::ContainsRegex;
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

// Status of `address`, as an object.
nlohmann::json StatusOf(Cli& cli, const std::string& address) {
  const Outcome outcome = cli.Run({"status", "--json", address});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  const auto objects = outcome.Objects();
  return objects.size() == 1 ? objects[0] : nlohmann::json::object();
}

// The connections of `pid` in a status.
std::vector<nlohmann::json> ConnectionsOf(const nlohmann::json& status,
                                          pid_t pid) {
  std::vector<nlohmann::json> found;
  for (const auto& connection : status["connections"]) {
    if (connection["caller"]["pid"] == pid) found.push_back(connection);
  }
  return found;
}

TEST(StatusTest, ShowsWhoIsConnected) {
  Cli cli;
  const auto up = cli.Up();
  const std::string address = Cli::Ready(*up)["app"]["address"];
  EXPECT_THAT(ConnectionsOf(StatusOf(cli, address), ::getpid()), SizeIs(0));

  const auto channel = rpc::Channel::Connect(address);
  ASSERT_THAT(channel, IsOk());
  const auto session = (*channel)->OpenSession(kLong);
  ASSERT_THAT(session, IsOk());
  const auto status = StatusOf(cli, address);
  const auto ours = ConnectionsOf(status, ::getpid());
  ASSERT_THAT(ours, SizeIs(1)) << status;
  EXPECT_EQ(ours[0]["caller"]["uid"], ::geteuid());
  EXPECT_EQ(ours[0]["caller"]["wire"], "ttrpc");
  EXPECT_EQ(ours[0]["caller"]["connection"],
            (*session)->hello()->caller().connection_id());
  EXPECT_EQ(ours[0]["calls"], 1);  // Hello.
  EXPECT_EQ(ours[0]["refused_calls"], 0);
  EXPECT_GT(ours[0]["reply_bytes"], 0);
  EXPECT_THAT(ours[0]["since"].get<std::string>(), StartsWith("20"));
  EXPECT_GE(ours[0]["age_seconds"], 0);
  // The node's, which drives the application.
  EXPECT_FALSE(ConnectionsOf(status, Cli::Ready(*up)["node"]["pid"]).empty());

  const Outcome text = cli.Run({"status", address});
  EXPECT_THAT(
      text.out,
      AllOf(HasSubstr("CONNECTION"),
            ContainsRegex(absl::StrCat("\n[0-9]+ +", ::geteuid(), " +[0-9]+ +",
                                       ::getpid(), " +ttrpc "))));

  (*session)->Close();
  const absl::Time deadline = absl::Now() + kLong;
  while (!ConnectionsOf(StatusOf(cli, address), ::getpid()).empty()) {
    ASSERT_LT(absl::Now(), deadline) << "a connection that ended is shown";
  }
}

TEST(StatusTest, ShowsLimitsAndWhatIsUsedOfThem) {
  Cli cli;
  const auto up = cli.Up();
  const auto status = StatusOf(cli, Cli::Ready(*up)["node"]["address"]);
  EXPECT_EQ(status["server"]["pid"], Cli::Ready(*up)["node"]["pid"]);
  EXPECT_EQ(status["server"]["listens_at"], Cli::Ready(*up)["node"]["address"]);
  const auto& limits = status["limits"];
  EXPECT_GT(limits["max_connections"]["limit"], 0) << status;
  EXPECT_GT(limits["max_connections"]["used"], 0);
  EXPECT_GT(limits["descriptors"]["limit"], 0);
  EXPECT_GT(limits["descriptors"]["used"], 3);
  EXPECT_EQ(status["refusals"]["not-allowed-to-connect"], 0);
  EXPECT_FALSE(status.contains("not_shown"));
}

// Starts the application alone at `path`, and waits until it listens.
std::unique_ptr<rpc::testing::Process> StartApp(
    const Cli& cli, const std::string& path,
    const std::vector<std::string>& arguments) {
  std::vector<std::string> command{TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                                   "unix:" + path, "--data", cli.File("app")};
  command.insert(command.end(), arguments.begin(), arguments.end());
  auto app = rpc::testing::Process::Start(
      {.command = command, .log_path = cli.File("app.log")});
  EXPECT_THAT(app, IsOk());
  if (!app.ok()) return nullptr;
  const auto channel = rpc::Channel::Connect(
      "unix:" + path, {.allow_shared_directory = "a test's"});
  EXPECT_THAT(channel, IsOk());
  EXPECT_THAT((*channel)->WaitForConnected(kLong), IsOk());
  return *std::move(app);
}

TEST(StatusTest, ShowsTheLimitsThatAProgramWasGiven) {
  Cli cli;
  const std::vector<std::string> given = {"--max-connections",
                                          "11",
                                          "--max-connections-per-uid",
                                          "7",
                                          "--max-calls-per-connection",
                                          "13",
                                          "--max-request-memory",
                                          "256M",
                                          "--idle-timeout",
                                          "90s"};
  const auto expect = [&](const std::string& path) {
    const auto status = StatusOf(cli, "unix:" + path);
    const auto& limits = status["limits"];
    EXPECT_EQ(limits["max_connections"]["limit"], 11) << status;
    EXPECT_EQ(limits["max_connections_per_uid"]["limit"], 7);
    EXPECT_EQ(limits["max_calls_per_connection"]["limit"], 13);
    EXPECT_EQ(limits["max_request_memory"]["limit"], 256 << 20);
    EXPECT_EQ(limits["max_request_memory_per_uid"]["limit"], 128 << 20);
    EXPECT_EQ(limits["idle_timeout_ms"]["limit"], 90'000);
  };
  const auto app = StartApp(cli, cli.File("app.sock"), given);
  expect(cli.File("app.sock"));
  std::vector<std::string> command{TANDEM_BIN_DIR "/tandem-node",
                                   "--app",
                                   "unix:" + cli.File("app.sock"),
                                   "--listen",
                                   "unix:" + cli.File("node.sock"),
                                   "--data",
                                   cli.File("node")};
  command.insert(command.end(), given.begin(), given.end());
  const auto node = rpc::testing::Process::Start(
      {.command = command, .log_path = cli.File("node.log")});
  ASSERT_THAT(node, IsOk());
  const auto channel = rpc::Channel::Connect("unix:" + cli.File("node.sock"));
  ASSERT_THAT(channel, IsOk());
  ASSERT_THAT((*channel)->WaitForConnected(kLong), IsOk());
  expect(cli.File("node.sock"));
  // It is held to them: the node has some connections, we take the rest.
  std::vector<rpc::UniqueFd> clients;
  for (int i = 0; i < 7; ++i) {
    clients.push_back(test::ConnectTo(cli.File("app.sock")));
  }
  EXPECT_TRUE(test::IsClosed(clients.back()));
}

TEST(StatusTest, CountsAUserWhoIsRefused) {
  if (::geteuid() != 0 || ::access("/usr/bin/setpriv", X_OK) != 0) {
    GTEST_SKIP() << "NOT TESTED: needs root and setpriv (apt-get install "
                    "util-linux), to be another user";
  }
  Cli cli;
  const std::string path = cli.File("kv.sock");
  const auto app = StartApp(cli, path, {"--mode", "0666"});
  // The way there is open to all, the socket too: the server says no.
  ASSERT_EQ(::chmod(cli.File(".").c_str(), 0755), 0);
  const std::string address = "unix:" + path;
  ASSERT_EQ(StatusOf(cli, address)["refusals"]["not-allowed-to-connect"], 0);
  const Outcome refused = cli.RunBash(
      "exec /usr/bin/setpriv --reuid=65534 --regid=65534 "
      "--clear-groups -- \"$0\" status --server-uid 0 " +
      address);
  ASSERT_EQ(refused.status, 1) << refused.out;
  EXPECT_THAT(refused.err, HasSubstr(path));
  EXPECT_THAT(refused.err, HasSubstr("`tandem doctor " + address + "`"));
  EXPECT_EQ(StatusOf(cli, address)["refusals"]["not-allowed-to-connect"], 1)
      << "one question";
}

TEST(StatusTest, SaysWhatItMayNotSeeAndShowsTheRest) {
  Cli cli;
  const std::string path = cli.File("kv.sock");
  const auto app =
      StartApp(cli, path, {"--allow-call", "tandem.rpc.v1.Admin=user:54321"});
  const auto status = StatusOf(cli, "unix:" + path);
  EXPECT_THAT(status["server"]["name"].get<std::string>(),
              StartsWith("tandem-kvstore"));
  ASSERT_TRUE(status.contains("not_shown")) << status;
  EXPECT_EQ(status["not_shown"]["what"], "connections, limits and refusals");
  EXPECT_THAT(status["not_shown"]["why"].get<std::string>(),
              HasSubstr("tandem.rpc.v1.Admin"));
  EXPECT_FALSE(status.contains("connections"));
  const Outcome text = cli.Run({"status", "unix:" + path});
  EXPECT_EQ(text.status, 0);
  EXPECT_THAT(text.out,
              AllOf(HasSubstr("not_shown.why"), HasSubstr("server.name"),
                    Not(HasSubstr("CONNECTION"))));
}

// A server that answers Hello, and knows nothing else.
class OldServer final : public grpc::CallbackGenericService {
 public:
  explicit OldServer(const std::string& address) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
  }
  ~OldServer() override { server_->Shutdown(std::chrono::system_clock::now()); }

 private:
  class Hello final : public grpc::ServerGenericBidiReactor {
   public:
    Hello() { StartRead(&request_); }

   private:
    void OnReadDone(bool) override {
      rpc::v1::HelloReply hello;
      hello.set_server("old 0.0.1");
      const grpc::Slice slice(hello.SerializeAsString());
      reply_ = grpc::ByteBuffer(&slice, 1);
      StartWriteAndFinish(&reply_, {}, grpc::Status::OK);
    }
    void OnDone() override { delete this; }

    grpc::ByteBuffer request_;
    grpc::ByteBuffer reply_;
  };

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    if (context->method() == "/tandem.rpc.v1.Session/Hello") return new Hello;
    return CallbackGenericService::CreateReactor(context);
  }

  std::unique_ptr<grpc::Server> server_;
};

TEST(StatusTest, SaysThatAServerIsTooOldToTellAndShowsTheRest) {
  Cli cli;
  const std::string address = "unix:" + cli.File("old.sock");
  const OldServer server(address);
  const auto status = StatusOf(cli, address);
  EXPECT_EQ(status["server"]["name"], "old 0.0.1");
  ASSERT_TRUE(status.contains("not_shown")) << status;
  EXPECT_THAT(status["not_shown"]["why"].get<std::string>(),
              HasSubstr("has no tandem.rpc.v1.Admin"));
}

class SharedDirectoryTest : public ::testing::Test {
 protected:
  SharedDirectoryTest() {
    EXPECT_EQ(::mkdir(directory_.c_str(), 0700), 0);
    EXPECT_EQ(::chmod(directory_.c_str(), 0777), 0);
  }

  Cli cli_{"shared/data"};
  const std::string directory_ = cli_.File("shared");
  const std::string path_ = directory_ + "/kv.sock";
  const std::string address_ = "unix:" + path_;
};

TEST_F(SharedDirectoryTest, IsNotTrustedUnlessAReasonIsGiven) {
  const auto app =
      StartApp(cli_, path_, {"--allow-shared-directory", "friends"});
  const Outcome untold = cli_.Run({"status", address_});
  EXPECT_EQ(untold.status, 1);
  EXPECT_THAT(untold.err, AllOf(HasSubstr("nothing was sent"),
                                HasSubstr("--allow-shared-directory")));
  const Outcome told =
      cli_.Run({"status", address_, "--allow-shared-directory", "friends"});
  EXPECT_EQ(told.status, 0) << told.err;
  EXPECT_THAT(told.out, HasSubstr("tandem-kvstore"));
  const Outcome silent =
      cli_.Run({"status", address_, "--allow-shared-directory", ""});
  EXPECT_EQ(silent.status, 2);
  EXPECT_THAT(silent.err, HasSubstr("say why"));
}

TEST_F(SharedDirectoryTest, IsNoProblemToADoctorWhoIsToldWhy) {
  const auto app =
      StartApp(cli_, path_, {"--allow-shared-directory", "friends"});
  const Outcome untold = cli_.Run({"doctor", address_});
  EXPECT_EQ(untold.status, 1);
  EXPECT_THAT(untold.out,
              AllOf(HasSubstr("problem: "), HasSubstr("mode 0777")));
  const Outcome told =
      cli_.Run({"doctor", address_, "--allow-shared-directory", "friends"});
  EXPECT_EQ(told.status, 0) << told.out;
  EXPECT_THAT(told.out, AllOf(HasSubstr("allowed, because: friends"),
                              HasSubstr("it is tandem-kvstore")));
}

TEST_F(SharedDirectoryTest, HoldsAPairThatIsToldWhy) {
  const Outcome untold = cli_.Run({"up"});
  EXPECT_EQ(untold.status, 1);
  EXPECT_THAT(untold.err, HasSubstr("--allow-shared-directory"));
  const std::vector<std::string> why{"--allow-shared-directory", "friends"};
  const auto up = cli_.Start({"up", "--json", why[0], why[1]});
  ASSERT_TRUE(up->WaitLines(1)) << up->err();
  EXPECT_EQ(cli_.Run({"query", "key"}).status, 1);
  const Outcome submitted = cli_.Run({"submit", why[0], why[1]}, "key=1\n");
  EXPECT_EQ(submitted.status, 0) << submitted.err;
  const Outcome found = cli_.Run({"query", why[0], why[1], "key"});
  EXPECT_EQ(found.status, 0) << found.err;
}

TEST_F(SharedDirectoryTest,
       OfTheApplicationIsNotTrustedByANodeThatTrustsItsOwn) {
  const auto app =
      StartApp(cli_, path_, {"--allow-shared-directory", "friends"});
  const std::string node = "unix:" + directory_ + "/node.sock";
  const auto started = rpc::testing::Process::Start(
      {.command = {TANDEM_BIN_DIR "/tandem-node", "--app", address_, "--listen",
                   node, "--data", cli_.File("node"),
                   "--allow-shared-directory", "friends"},
       .log_path = cli_.File("node.log")});
  ASSERT_THAT(started, IsOk());
  const auto channel =
      rpc::Channel::Connect(node, {.allow_shared_directory = "a test's"});
  ASSERT_THAT(channel, IsOk());
  ASSERT_THAT((*channel)->WaitForConnected(kLong), IsOk());
  const absl::Time deadline = absl::Now() + kLong;
  std::string reason;
  while (reason.find("--app-allow-shared-directory") == std::string::npos) {
    ASSERT_LT(absl::Now(), deadline) << reason;
    const auto objects =
        cli_.Run({"status", "--json", node, "--allow-shared-directory", "us"})
            .Objects();
    ASSERT_THAT(objects, SizeIs(1));
    ASSERT_NE(objects[0]["app"]["state"], "RUNNING");
    reason = objects[0]["app"]["reason"];
  }
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
                    HasSubstr(absl::StrCat("--server-uid ", ::geteuid()))));
}

TEST(StatusTest, OneIsToldToStartAPairOnlyWhereNobodyListens) {
  Cli cli;
  const std::string path = cli.File("kv.sock");
  const std::string address = "unix:" + path;
  const auto advice = AllOf(HasSubstr("`tandem doctor " + address + "`"),
                            Not(HasSubstr("tandem up")));
  const rpc::UniqueFd listening = test::ListenAt(path, 0);
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

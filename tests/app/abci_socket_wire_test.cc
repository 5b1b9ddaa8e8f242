// An application over the ABCI socket protocol, as a server offers it, against
// clients that write what Protobuf writes.

#include "app/abci_socket_wire.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "app/abci_service.h"
#include "app/application.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/abci/socket_call.h"
#include "rpc/base/unique_fd.h"
#include "rpc/client/channel.h"
#include "rpc/server/server.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tandem/rpc/v1/admin.tandem.h"
#include "tests/support/delimited_socket.h"
#include "tests/support/descriptors.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_socket.h"

namespace tandem::app {
namespace {

using ::tandem::rpc::Verdict;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::tandem::test::Delimited;
using ::tandem::test::Eventually;
using ::testing::AllOf;
using ::testing::HasSubstr;

abci::Request CheckTx(std::string tx) {
  abci::Request request;
  request.mutable_check_tx()->set_tx(std::move(tx));
  return request;
}

abci::Request Commit() {
  abci::Request request;
  request.mutable_commit();
  return request;
}

abci::Request Query(std::size_t answer_bytes) {
  abci::Request request;
  request.mutable_query()->set_path(absl::StrCat(answer_bytes));
  return request;
}

abci::Request InitChain() {
  abci::Request request;
  request.mutable_init_chain();
  return request;
}

// Says what it was asked, and blocks where it is told to.
class EchoApplication final : public Application {
 public:
  absl::StatusOr<abci::ResponseInitChain> InitChain(
      const abci::RequestInitChain&) override {
    blocked_.set_value();
    is_released_.wait();
    return abci::ResponseInitChain();
  }
  // With as many bytes as the path says.
  absl::StatusOr<abci::ResponseQuery> Query(
      const abci::RequestQuery& request) override {
    ++queried_;
    abci::ResponseQuery answer;
    answer.set_value(std::string(std::stoul(request.path()), 'x'));
    return answer;
  }
  absl::StatusOr<abci::ResponseCheckTx> CheckTx(
      const abci::RequestCheckTx& request) override {
    if (request.tx().starts_with("block")) {
      blocked_.set_value();
      is_released_.wait();
    }
    if (request.tx() == "fail") return absl::AbortedError("as you wish");
    ++checked_;
    abci::ResponseCheckTx answer;
    answer.set_data(request.tx());
    return answer;
  }

  void AwaitBlocked() { blocked_.get_future().wait(); }
  void Release() { released_.set_value(); }
  int checked() const { return checked_; }
  int queried() const { return queried_; }

 private:
  std::promise<void> blocked_;
  std::promise<void> released_;
  std::shared_future<void> is_released_{released_.get_future()};
  std::atomic<int> checked_{0};
  std::atomic<int> queried_{0};
};

// The client's end of a connection.
class Client : public test::DelimitedSocket<abci::Response> {
 public:
  explicit Client(rpc::UniqueFd socket) : DelimitedSocket(std::move(socket)) {
    // What does not come fails the test instead of hanging it.
    const timeval limit = {.tv_sec = 30, .tv_usec = 0};
    ::setsockopt(fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  }

  std::string ReadData() {
    const std::optional<abci::Response> response = Read();
    return response ? response->check_tx().data() : "(closed)";
  }
  std::string ReadException() {
    const std::optional<abci::Response> response = Read();
    return response ? response->exception().error() : "(closed)";
  }
};

// Its message is an unfinished field.
constexpr std::string_view kBrokenCheckTx("\x04\x42\x02\x0a\x05", 5);

class AbciSocketWireTest : public ::testing::Test {
 protected:
  void Start(rpc::ServerOptions options = {}) {
    options.address = dir_.Address("app.sock");
    options.services = {Serve(service_)};
    options.wires = {&wire_};
    options.workers = 2;
    auto server = rpc::Server::Start(std::move(options));
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  Client Connect() { return Client(test::ConnectTo(dir_.File("app.sock"))); }

  rpc::v1::ServerStatusReply Status() {
    if (channel_ == nullptr) {
      channel_ = *rpc::Channel::Connect(dir_.Address("app.sock"));
    }
    const auto status = rpc::v1::AdminClient(*channel_).ServerStatus({}, {});
    EXPECT_THAT(status, IsOk());
    return status.ok() ? *status : rpc::v1::ServerStatusReply();
  }
  std::uint64_t Refusals(std::string_view reason) {
    const rpc::v1::ServerStatusReply status = Status();
    for (const auto& refusal : status.refusals()) {
      if (refusal.reason() == reason) return refusal.count();
    }
    ADD_FAILURE() << "no such reason: " << reason;
    return 0;
  }
  void ExpectServes() {
    Client client = Connect();
    client.Send(CheckTx("fine"));
    EXPECT_EQ(client.ReadData(), "fine");
  }

  const rpc::testing::TempDir dir_;
  EchoApplication application_;
  AbciService service_{application_};
  AbciSocketWire wire_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<rpc::Channel> channel_;
};

TEST_F(AbciSocketWireTest, AnswersComeInTheOrderOfRequests) {
  Start();
  Client client = Connect();
  abci::Request echo;
  echo.mutable_echo()->set_message("hello");
  abci::Request flush;
  flush.mutable_flush();
  // Of every kind of thread: the pool's, the reader's, the service's own.
  for (int i = 0; i < 50; ++i) {
    client.SendBytes(absl::StrCat(Delimited(CheckTx(absl::StrCat(i))),
                                  Delimited(echo), Delimited(Commit()),
                                  Delimited(flush)));
  }
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(client.ReadData(), absl::StrCat(i));
    ASSERT_EQ(client.Read()->echo().message(), "hello");
    // Nothing is finalized.
    ASSERT_THAT(client.ReadException(), HasSubstr("FAILED_PRECONDITION"));
    ASSERT_TRUE(client.Read()->has_flush());
  }
}

TEST_F(AbciSocketWireTest, AnyNumberOfRequestsMayBeOnTheirWay) {
  Start();
  Client client = Connect();
  constexpr int kRequests = 200000;
  const std::jthread writer([&client] {
    std::string bytes;
    for (int i = 0; i < kRequests; ++i) bytes += Delimited(CheckTx("x"));
    client.SendBytes(bytes);
  });
  for (int i = 0; i < kRequests; ++i) ASSERT_EQ(client.ReadData(), "x") << i;
}

TEST_F(AbciSocketWireTest, ByteByByteIsAnsweredAsInOneGo) {
  Start();
  Client client = Connect();
  for (const char byte :
       Delimited(CheckTx("a")) + Delimited(CheckTx(std::string(500, 'b')))) {
    client.SendBytes({&byte, 1});
  }
  EXPECT_EQ(client.ReadData(), "a");
  EXPECT_EQ(client.ReadData(), std::string(500, 'b'));
}

TEST_F(AbciSocketWireTest, SplitAnywhereIsAnsweredAsInOneGo) {
  Start();
  std::string bytes;
  std::vector<std::string> said;
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    said.emplace_back(random() % 400, static_cast<char>('a' + i % 26));
    bytes += Delimited(CheckTx(said.back()));
  }
  for (int i = 0; i < 20; ++i) {
    Client client = Connect();
    const std::jthread writer([&] {
      for (std::size_t at = 0; at < bytes.size();) {
        const std::string piece = bytes.substr(at, 1 + random() % 300);
        client.SendBytes(piece);
        at += piece.size();
      }
    });
    for (const std::string& each : said) ASSERT_EQ(client.ReadData(), each);
  }
}

TEST_F(AbciSocketWireTest, ErrorsAreExceptionsAndTheConnectionGoesOn) {
  Start();
  Client client = Connect();
  client.Send(CheckTx("fail"));
  client.Send(CheckTx("b"));
  EXPECT_EQ(client.ReadException(), "ABORTED: as you wish");
  EXPECT_EQ(client.ReadData(), "b");
}

TEST_F(AbciSocketWireTest, ThePolicyIsAskedAndNamed) {
  auto access = rpc::AccessPolicy::SameUser();
  ASSERT_THAT(access.AllowCall("tendermint.abci.ABCI/CheckTx",
                               rpc::AllowList().AllowUid(::geteuid() + 1)),
              IsOk());
  Start({.access = access});
  Client client = Connect();
  client.Send(CheckTx("a"));
  EXPECT_THAT(client.ReadException(),
              AllOf(HasSubstr("PERMISSION_DENIED"),
                    HasSubstr("tendermint.abci.ABCI/CheckTx")));
  EXPECT_EQ(application_.checked(), 0);
  EXPECT_EQ(Refusals("not-allowed-to-call"), 1u);
  // Before it is parsed, since this is no CheckTx.
  client.SendBytes(kBrokenCheckTx);
  EXPECT_THAT(client.ReadException(), HasSubstr("PERMISSION_DENIED"));
}

TEST_F(AbciSocketWireTest, AMessageThatIsNoneIsRefusedWithItsType) {
  Start();
  Client client = Connect();
  client.SendBytes(kBrokenCheckTx);
  EXPECT_THAT(client.ReadException(),
              AllOf(HasSubstr("INVALID_ARGUMENT"),
                    HasSubstr("tendermint.abci.RequestCheckTx")));
  client.Send(CheckTx("b"));
  EXPECT_EQ(client.ReadData(), "b");
}

TEST_F(AbciSocketWireTest, CallsAndBytesAreCountedAsOfTheCaller) {
  Start();
  Client client = Connect();
  client.Send(Query(1000));
  ASSERT_TRUE(client.Read().has_value());
  const rpc::v1::ServerStatusReply status = Status();
  ASSERT_EQ(status.connections_size(), 2);
  const auto& counted = status.connections(0);
  EXPECT_EQ(counted.caller().wire(), "abci");
  EXPECT_EQ(counted.caller().uid(), ::geteuid());
  EXPECT_EQ(counted.caller().pid(), ::getpid());
  EXPECT_EQ(counted.calls(), 1u);
  EXPECT_GT(counted.request_bytes(), 0u);
  EXPECT_GE(counted.reply_bytes(), 1000u);
}

// An Exception would make CometBFT give up.
class AbciSocketLimitTest : public AbciSocketWireTest,
                            public ::testing::WithParamInterface<int> {};

TEST_P(AbciSocketLimitTest, OnCallsLeavesRequestsInTheKernel) {
  Start({.max_calls_per_connection = GetParam()});
  Client client = Connect();
  const std::jthread writer([&client] {
    std::string bytes;
    for (int i = 0; i < 3000; ++i) {
      bytes += Delimited(CheckTx(absl::StrCat(i))) + Delimited(Commit());
    }
    client.SendBytes(bytes);
  });
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(client.ReadData(), absl::StrCat(i));
    ASSERT_THAT(client.ReadException(), HasSubstr("FAILED_PRECONDITION"));
  }
  EXPECT_EQ(Refusals("too-many-calls"), 0u);
}

INSTANTIATE_TEST_SUITE_P(Of, AbciSocketLimitTest, ::testing::Values(1, 2, 7));

TEST_F(AbciSocketWireTest, AConnectionWhoseCallsAreRefusedTooOftenIsEnded) {
  auto access = rpc::AccessPolicy::SameUser();
  ASSERT_THAT(access.AddRule("tendermint.abci.ABCI/CheckTx=user:54321"),
              IsOk());
  Start({.access = access, .max_calls_per_connection = 100});
  Client client = Connect();
  const std::jthread writer([&client] {
    std::string bytes;
    for (int i = 0; i < 100; ++i) bytes += Delimited(CheckTx("x"));
    for (int i = 0; i < 300; ++i) client.SendBytes(bytes);
  });
  int refused = 0;
  while (client.Read().has_value()) ++refused;
  EXPECT_LT(refused, 30000);
  EXPECT_TRUE(
      Eventually([&] { return Refusals("too-many-calls-for-nothing") == 1; }));
  EXPECT_EQ(application_.checked(), 0);
}

TEST_F(AbciSocketWireTest, ARequestThatBlocksHoldsUpItsConnectionAlone) {
  Start({.poll_threads = 1});
  Client client = Connect();
  client.Send(CheckTx("block"));
  client.Send(CheckTx("behind"));
  application_.AwaitBlocked();
  ExpectServes();
  application_.Release();
  EXPECT_EQ(client.ReadData(), "block");
  EXPECT_EQ(client.ReadData(), "behind");
}

TEST_F(AbciSocketWireTest, WhoDoesNotReadIsAskedForNoMore) {
  constexpr int kQueries = 100;
  Start();
  Client client = Connect();
  for (int i = 0; i < kQueries; ++i) client.Send(Query(1 << 20));
  // The workers have had many turns by then.
  ASSERT_TRUE(Eventually([&] { return application_.queried() > 0; }));
  for (int i = 0; i < 300; ++i) ExpectServes();
  EXPECT_LT(application_.queried(), 5) << "what one answer, and a socket, hold";
  for (int i = 0; i < kQueries; ++i) {
    const std::optional<abci::Response> answer = client.Read();
    ASSERT_TRUE(answer.has_value()) << i;
    ASSERT_EQ(answer->query().value().size(), std::size_t{1} << 20);
  }
  EXPECT_EQ(application_.queried(), kQueries);
}

TEST_F(AbciSocketWireTest, WhoDoesNotReadLosesTheConnection) {
  Start({.write_timeout = absl::Milliseconds(100)});
  Client client = Connect();
  for (int i = 0; i < 10; ++i) client.Send(Query(4 << 20));
  EXPECT_TRUE(Eventually([&] {
    pollfd ended = {client.fd(), POLLRDHUP, 0};
    return ::poll(&ended, 1, 0) == 1;
  }));
  EXPECT_EQ(Refusals("slow-reader"), 1u);
  // The next may begin while the connection ends.
  EXPECT_LE(application_.queried(), 2);
  ExpectServes();
}

TEST_F(AbciSocketWireTest, ALengthThatIsOnlyAnnouncedTakesNoMemory) {
  constexpr std::size_t kMost = 4 << 20;
  Start({.max_message_bytes = kMost,
         .max_request_memory = kMost,
         .max_request_memory_per_uid = kMost});
  std::string large = Delimited(CheckTx(std::string(kMost - 100, 'x')));
  std::vector<Client> liars;
  for (int i = 0; i < 20; ++i) {
    liars.push_back(Connect());
    liars.back().SendBytes(std::string_view(large).substr(0, 10));
  }
  Client client = Connect();
  const std::jthread writer([&] { client.SendBytes(large); });
  EXPECT_EQ(client.ReadData().size(), kMost - 100);
}

TEST_F(AbciSocketWireTest, RequestsThatMemoryIsShortForEndTheConnectionAlone) {
  constexpr std::size_t kMost = 4 << 20;
  Start({.max_message_bytes = kMost,
         .max_request_memory = kMost,
         .max_request_memory_per_uid = kMost});
  const std::string large = Delimited(CheckTx(std::string(kMost - 100, 'x')));
  const std::string_view bytes = large;
  Client holder = Connect();
  holder.SendBytes(bytes.substr(0, bytes.size() * 3 / 4));
  Client client = Connect();
  const std::jthread writer([&] { client.SendBytes(large); });
  // Whichever comes second has no room.
  EXPECT_THAT(client.ReadException(),
              AllOf(HasSubstr("RESOURCE_EXHAUSTED"), HasSubstr("memory")));
  EXPECT_EQ(client.Read(), std::nullopt);
  EXPECT_EQ(Refusals("out-of-request-memory"), 1u);
  holder.SendBytes(bytes.substr(bytes.size() * 3 / 4));
  EXPECT_EQ(holder.ReadData().size(), kMost - 100);
}

TEST_F(AbciSocketWireTest, RequestsInFlightAreHeldAgainstTheMemory) {
  // Small enough to come in one go.
  constexpr std::size_t kLarge = 40'000;
  Start({.max_message_bytes = 50'000,
         .max_request_memory = 60'000,
         .max_request_memory_per_uid = 60'000});
  Client holder = Connect();
  holder.Send(CheckTx("block" + std::string(kLarge, 'x')));
  application_.AwaitBlocked();
  Client client = Connect();
  client.Send(CheckTx(std::string(kLarge, 'x')));
  EXPECT_THAT(client.ReadException(), HasSubstr("max_request_memory"));
  EXPECT_EQ(Refusals("out-of-request-memory"), 1u);
  client.Send(CheckTx("little"));
  EXPECT_EQ(client.ReadData(), "little");
  application_.Release();
  EXPECT_EQ(holder.ReadData().size(), 5 + kLarge);
  client.Send(CheckTx(std::string(kLarge, 'x')));
  EXPECT_EQ(client.ReadData().size(), kLarge);
}

TEST_F(AbciSocketWireTest, AnAnswerThatIsTooLargeIsAnExceptionAndCounted) {
  Start({.max_reply_bytes = 1000});
  Client client = Connect();
  client.Send(Query(1001));
  client.Send(Query(900));
  EXPECT_THAT(client.ReadException(), HasSubstr("RESOURCE_EXHAUSTED"));
  EXPECT_EQ(client.Read()->query().value().size(), 900u);
  EXPECT_EQ(Refusals("reply-too-large"), 1u);
}

TEST_F(AbciSocketWireTest, MoreThanTheLimitIsRefusedBeforeItComes) {
  Start({.max_message_bytes = 1000});
  Client client = Connect();
  client.Send(CheckTx("a"));
  client.SendBytes("\xff\xff\xff\xff\x07");
  EXPECT_EQ(client.ReadData(), "a");
  EXPECT_THAT(client.ReadException(), HasSubstr("RESOURCE_EXHAUSTED"));
  EXPECT_EQ(client.Read(), std::nullopt);
  EXPECT_EQ(Refusals("message-too-large"), 1u);
}

TEST_F(AbciSocketWireTest, WhatIsNoRequestEndsTheConnectionAlone) {
  Start();
  Client other = Connect();
  Client client = Connect();
  client.Send(CheckTx("a"));
  EXPECT_EQ(client.ReadData(), "a");
  client.SendBytes(std::string("\x02\x0f\x00", 3));
  EXPECT_THAT(client.ReadException(), HasSubstr("INVALID_ARGUMENT"));
  // What follows may be anything.
  client.Send(CheckTx("c"));
  EXPECT_EQ(client.Read(), std::nullopt);
  other.Send(CheckTx("b"));
  EXPECT_EQ(other.ReadData(), "b");
  EXPECT_EQ(application_.checked(), 2);
  EXPECT_EQ(Refusals("message-too-large"), 0u);
}

TEST_F(AbciSocketWireTest, AnUnknownMemberIsRefusedByNumber) {
  Start();
  Client client = Connect();
  client.Send(CheckTx("a"));
  client.SendBytes(std::string("\x02\x22\x00", 3));
  EXPECT_EQ(client.ReadData(), "a");
  EXPECT_THAT(client.ReadException(), HasSubstr("member 4"));
}

TEST_F(AbciSocketWireTest, WhoLeavesInTheMiddleCostsNobodyAnything) {
  Start();
  Status();
  const std::size_t descriptors = test::OpenDescriptors().size();
  const std::string bytes =
      Delimited(CheckTx(std::string(300, 'x'))) + Delimited(Commit());
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    Client client = Connect();
    client.SendBytes(std::string_view(bytes).substr(0, cut));
  }
  ExpectServes();
  EXPECT_TRUE(Eventually([&] { return Status().connections_size() == 1; }));
  EXPECT_TRUE(Eventually(
      [&] { return test::OpenDescriptors().size() <= descriptors; }));
}

TEST_F(AbciSocketWireTest, AStopLetsWhatRunsEnd) {
  Start();
  Client client = Connect();
  client.Send(CheckTx("block"));
  application_.AwaitBlocked();
  std::future<bool> stopped = std::async(
      std::launch::async, [this] { return server_->Stop(absl::Seconds(30)); });
  // The socket is gone: it stops, and waits.
  const std::string path = dir_.File("app.sock");
  ASSERT_TRUE(Eventually([&] { return ::access(path.c_str(), F_OK) != 0; }));
  pollfd ended = {client.fd(), POLLRDHUP, 0};
  EXPECT_EQ(::poll(&ended, 1, 100), 0);
  application_.Release();
  EXPECT_EQ(client.ReadData(), "block");
  EXPECT_EQ(client.Read(), std::nullopt);
  EXPECT_TRUE(stopped.get());
}

// Whoever waits for its answer: it still uses the server and the application.
TEST_F(AbciSocketWireTest, AStopTellsOfARequestThatGoesOn) {
  for (const bool client_stays : {true, false}) {
    SCOPED_TRACE(client_stays);
    EchoApplication application;
    AbciService service(application);
    AbciSocketWire wire;
    auto server = rpc::Server::Start({.address = dir_.Address("app.sock"),
                                      .wires = {&wire},
                                      .services = {Serve(service)}});
    ASSERT_THAT(server, IsOk());
    auto client = std::make_unique<Client>(Connect());
    client->Send(InitChain());
    application.AwaitBlocked();
    if (!client_stays) client = nullptr;
    EXPECT_FALSE((*server)->Stop(absl::Milliseconds(20)));
    application.Release();
    EXPECT_TRUE((*server)->Stop(absl::Seconds(30)));
  }
}

TEST_F(AbciSocketWireTest, WhoReadsNothingHoldsUpNoStop) {
  Start();
  Client client = Connect();
  for (int i = 0; i < 10; ++i) client.Send(Query(4 << 20));
  ASSERT_TRUE(Eventually([&] { return application_.queried() > 0; }));
  // The second one waits for the first, on a machine that is busy.
  EXPECT_TRUE(server_->Stop(absl::Milliseconds(50)) ||
              server_->Stop(absl::Seconds(20)));
}

TEST_F(AbciSocketWireTest, AServerWithoutTheServiceDoesNotStart) {
  EXPECT_THAT(rpc::Server::Start(
                  {.address = dir_.Address("app.sock"), .wires = {&wire_}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tendermint.abci.ABCI")));
}

TEST(AbciSocketWireJudgeTest, EveryRequestIsItsOwnFromItsFirstBytesOn) {
  const AbciSocketWire wire;
  for (const ::tandem::abci::SocketCall& call : ::tandem::abci::SocketCalls()) {
    for (std::size_t size = 0; size < 20000; size += size < 400 ? 1 : 37) {
      std::string tag;
      std::uint64_t number = call.request_member << 3 | 2;
      for (; number >= 0x80; number >>= 7) {
        tag.push_back(static_cast<char>(number | 0x80));
      }
      tag.push_back(static_cast<char>(number));
      std::string bytes;
      std::uint64_t length = tag.size() + 1 + size;
      for (; length >= 0x80; length >>= 7) {
        bytes.push_back(static_cast<char>(length | 0x80));
      }
      bytes.push_back(static_cast<char>(length));
      bytes += tag;
      for (std::size_t seen = 0; seen < bytes.size(); ++seen) {
        ASSERT_EQ(wire.Judge(bytes.substr(0, seen)), Verdict::kNeedMore);
      }
      ASSERT_EQ(wire.Judge(bytes), Verdict::kMine);
      ASSERT_EQ(wire.Judge(bytes + "more"), Verdict::kMine);
    }
  }
}

TEST(AbciSocketWireJudgeTest, OtherProtocolsAreNot) {
  const AbciSocketWire wire;
  for (const std::string_view bytes :
       {std::string_view("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        std::string_view("GET / HTTP/1.1\r\n"), std::string_view("POST /"),
        std::string_view("PUT /"), std::string_view("PATCH /"),
        std::string_view("HEAD /"), std::string_view("OPTIONS *"),
        std::string_view("DELETE /"), std::string_view("CONNECT "),
        std::string_view("TRACE /"), std::string_view("PROPFIND /"),
        std::string_view("get / "), std::string_view("\x16\x03\x01\x02", 4),
        std::string_view("\0\0\0\x10\0\0\0\x01\x01\0", 10),
        std::string_view("SSH-2.0-"),
        std::string_view("\xff\xff\xff\xff\xff"
                         "\xff\xff\xff\xff\xff")}) {
    EXPECT_EQ(wire.Judge(bytes), Verdict::kNotMine) << bytes;
  }
}

}  // namespace
}  // namespace tandem::app

// An application over the ABCI socket protocol, as a server offers it, against
// clients that write what Protobuf writes.

#include "app/abci_socket_wire.h"

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "app/abci_service.h"
#include "app/application.h"
#include "gmock/gmock.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/util/delimited_message_util.h"
#include "gtest/gtest.h"
#include "proto/abci/socket_call.h"
#include "rpc/base/unique_fd.h"
#include "rpc/server/server.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/raw_socket.h"

namespace tandem::app {
namespace {

using ::tandem::rpc::Verdict;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::HasSubstr;

std::string Delimited(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream out(&bytes);
  google::protobuf::util::SerializeDelimitedToZeroCopyStream(message, &out);
  return bytes;
}

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

// Says what it was asked, and blocks where it is told to.
class EchoApplication final : public Application {
 public:
  absl::StatusOr<abci::ResponseCheckTx> CheckTx(
      const abci::RequestCheckTx& request) override {
    if (request.tx() == "block") {
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

 private:
  std::promise<void> blocked_;
  std::promise<void> released_;
  std::shared_future<void> is_released_{released_.get_future()};
  std::atomic<int> checked_{0};
};

// The client's end of a connection.
class Client {
 public:
  explicit Client(rpc::UniqueFd fd) : fd_(std::move(fd)) {
    // What does not come fails the test instead of hanging it.
    const timeval limit = {.tv_sec = 30, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  }

  void SendBytes(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t took =
          ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (took <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(took));
    }
  }
  void Send(const abci::Request& request) { SendBytes(Delimited(request)); }

  // Nothing at the end of the connection.
  std::optional<abci::Response> Read() {
    while (true) {
      abci::Response response;
      bool is_at_end = false;
      google::protobuf::io::ArrayInputStream in(
          bytes_.data(), static_cast<int>(bytes_.size()));
      if (google::protobuf::util::ParseDelimitedFromZeroCopyStream(
              &response, &in, &is_at_end)) {
        bytes_.erase(0, static_cast<std::size_t>(in.ByteCount()));
        return response;
      }
      char more[1 << 16];
      const ssize_t got = ::recv(fd_.get(), more, sizeof(more), 0);
      if (got <= 0) return std::nullopt;
      bytes_.append(more, static_cast<std::size_t>(got));
    }
  }
  std::string ReadData() {
    const std::optional<abci::Response> response = Read();
    return response ? response->check_tx().data() : "(closed)";
  }
  std::string ReadException() {
    const std::optional<abci::Response> response = Read();
    return response ? response->exception().error() : "(closed)";
  }

 private:
  rpc::UniqueFd fd_;
  std::string bytes_;
};

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

  const rpc::testing::TempDir dir_;
  EchoApplication application_;
  AbciService service_{application_};
  AbciSocketWire wire_;
  std::unique_ptr<rpc::Server> server_;
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
              ::testing::AllOf(HasSubstr("PERMISSION_DENIED"),
                               HasSubstr("tendermint.abci.ABCI/CheckTx")));
  EXPECT_EQ(application_.checked(), 0);
}

TEST_F(AbciSocketWireTest, MoreThanTheLimitIsRefusedBeforeItComes) {
  Start({.max_message_bytes = 1000});
  Client client = Connect();
  client.Send(CheckTx("a"));
  client.SendBytes("\xff\xff\xff\xff\x07");
  EXPECT_EQ(client.ReadData(), "a");
  EXPECT_THAT(client.ReadException(), HasSubstr("RESOURCE_EXHAUSTED"));
  EXPECT_EQ(client.Read(), std::nullopt);
}

TEST_F(AbciSocketWireTest, WhatIsNoRequestEndsTheConnectionAlone) {
  Start();
  Client other = Connect();
  Client client = Connect();
  client.Send(CheckTx("a"));
  EXPECT_EQ(client.ReadData(), "a");
  client.SendBytes(std::string("\x02\x0f\x00", 3));
  EXPECT_THAT(client.ReadException(), HasSubstr("INVALID_ARGUMENT"));
  EXPECT_EQ(client.Read(), std::nullopt);
  other.Send(CheckTx("b"));
  EXPECT_EQ(other.ReadData(), "b");
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
  const std::string bytes = Delimited(CheckTx(std::string(300, 'x')));
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    Client client = Connect();
    client.SendBytes(std::string_view(bytes).substr(0, cut));
  }
  Client client = Connect();
  client.Send(CheckTx("a"));
  EXPECT_EQ(client.ReadData(), "a");
}

TEST_F(AbciSocketWireTest, AStopLetsWhatRunsEnd) {
  Start();
  Client client = Connect();
  client.Send(CheckTx("block"));
  application_.AwaitBlocked();
  std::future<bool> stopped = std::async(
      std::launch::async, [this] { return server_->Stop(absl::Seconds(30)); });
  application_.Release();
  EXPECT_EQ(client.ReadData(), "block");
  EXPECT_EQ(client.Read(), std::nullopt);
  EXPECT_TRUE(stopped.get());
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

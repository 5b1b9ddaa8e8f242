// Go's ttrpc, of github.com/containerd/ttrpc, at the other end.

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/base/mutex.h"
#include "rpc/client/channel.h"
#include "rpc/server/server.h"
#include "rpc/testing/process.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/interop/go_program.h"
#include "ttrpc_go/echo.tandem.h"

namespace tandem::test {
namespace {

using ::tandem::rpc::Call;
using ::tandem::rpc::CallOptions;
using ::tandem::rpc::Channel;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::IsOkAndHolds;
using ::tandem::rpc::testing::Process;
using ::tandem::rpc::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Property;
using ::tests::interop::EchoClient;
using ::tests::interop::EchoHandler;
using ::tests::interop::Event;
using ::tests::interop::Failure;
using ::tests::interop::Heard;

constexpr char kGoPlugin[] = "google.golang.org/protobuf/cmd/protoc-gen-go";
constexpr char kGoVersion[] = "v1.36.6";
constexpr char kTtrpcPlugin[] =
    "github.com/containerd/ttrpc/cmd/protoc-gen-go-ttrpc";
constexpr char kTtrpcVersion[] = "v1.2.7";

constexpr CallOptions kLong = {.timeout = absl::Seconds(60)};

absl::StatusOr<std::string> TtrpcGo() {
  const auto go = GoProgram(kGoPlugin, kGoVersion);
  if (!go.ok()) return go.status();
  const auto ttrpc = GoProgram(kTtrpcPlugin, kTtrpcVersion);
  if (!ttrpc.ok()) return ttrpc.status();
  const std::string module = "module=tests/interop/ttrpc_go";
  return GoModule(
      {.directory = TANDEM_TTRPC_GO,
       .proto = "echo.proto",
       .plugins = {{"go", *go, module},
                   {"go-ttrpc", *ttrpc, module + ",prefix=TTRPC"}}});
}

Event Number(std::uint64_t number) {
  Event event;
  event.set_number(number);
  return event;
}

Event Bytes(std::size_t size) {
  Event event;
  event.set_data(std::string(size, 'x'));
  return event;
}

auto HoldsNumber(std::uint64_t number) {
  return IsOkAndHolds(Property(&Event::number, number));
}

Failure HalfOfIt() {
  Failure failure;
  failure.set_code(static_cast<int>(absl::StatusCode::kDataLoss));
  failure.set_message("half of it");
  failure.mutable_detail()->set_number(5);
  return failure;
}

// Our client, and a server in Go.
class TtrpcGoServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto program = TtrpcGo();
    if (!program.ok()) GTEST_SKIP() << program.status().message();
    auto server =
        Process::Start({.command = {*program, "serve", dir_.File("go.sock")},
                        .log_path = dir_.File("log")});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    auto channel = Channel::Connect(dir_.Address("go.sock"),
                                    {.wire = rpc::ClientWire::kTtrpc});
    ASSERT_THAT(channel, IsOk());
    channel_ = *std::move(channel);
    ASSERT_THAT(channel_->WaitForConnected(absl::Seconds(60)), IsOk());
    echo_ = std::make_unique<EchoClient>(*channel_);
  }

  EchoClient& echo() { return *echo_; }

  rpc::testing::TempDir dir_;
  std::unique_ptr<Process> server_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<EchoClient> echo_;
};

TEST_F(TtrpcGoServerTest, UnaryCallsAreAnswered) {
  Event event = Bytes(1000);
  event.set_number(7);
  const auto reply = echo().Get(event);
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->SerializeAsString(), event.SerializeAsString());
}

TEST_F(TtrpcGoServerTest, AThousandCallsAtOnceAreEachAnswered) {
  constexpr int kCalls = 1000;
  rpc::Mutex mu;
  int left = kCalls;
  for (int i = 0; i < kCalls; ++i) {
    echo().Get(Number(i), kLong, [&, i](const absl::StatusOr<Event>& reply) {
      EXPECT_THAT(reply, HoldsNumber(i));
      rpc::MutexLock lock(mu);
      if (--left == 0) mu.NotifyAll();
    });
  }
  rpc::MutexLock lock(mu);
  EXPECT_TRUE(mu.AwaitFor(absl::Seconds(60), [&] { return left == 0; }));
}

TEST_F(TtrpcGoServerTest, AnErrorKeepsItsDetails) {
  const absl::Status status = echo().Fail(HalfOfIt()).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, "half of it"));
  EXPECT_EQ(status.GetPayload("type.googleapis.com/tests.interop.Event"),
            absl::Cord(Number(5).SerializeAsString()));
}

TEST_F(TtrpcGoServerTest, MetadataAndDeadlinesArrive) {
  const auto heard = echo().Hear(
      {}, {.timeout = absl::Seconds(50), .metadata = {{"key", "value"}}});
  ASSERT_THAT(heard, IsOk());
  EXPECT_EQ(heard->metadata(), "value");
  EXPECT_GT(heard->timeout_nanos(), absl::ToInt64Nanoseconds(absl::Seconds(1)));
  EXPECT_LE(heard->timeout_nanos(),
            absl::ToInt64Nanoseconds(absl::Seconds(50)));
}

TEST_F(TtrpcGoServerTest, ADeadlinePasses) {
  EXPECT_THAT(echo().Sleep({}, {.timeout = absl::Milliseconds(50)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("/tests.interop.Echo/Sleep")));
  EXPECT_THAT(echo().Get(Number(1)), HoldsNumber(1));
}

TEST_F(TtrpcGoServerTest, WhatGoDoesNotTakeIsRefused) {
  EXPECT_THAT(echo().Get(Bytes(5 << 20)),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(echo().Get(Bytes(4'000'000)), IsOk());
  // It closes the connection on a reply that it cannot send.
  EXPECT_THAT(echo().Grow(Number(5 << 20)),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(echo().Get(Number(1)), HoldsNumber(1)) << "over another";
}

TEST_F(TtrpcGoServerTest, AServerStreamComesInOrder) {
  auto stream = echo().Count(Number(5000));
  Event event;
  std::uint64_t next = 0;
  while (stream.Read(&event)) EXPECT_EQ(event.number(), next++);
  EXPECT_EQ(next, 5000u);
  EXPECT_THAT(stream.status(), IsOk());
}

TEST_F(TtrpcGoServerTest, AStreamEndsWithItsError) {
  auto stream = echo().FailStream(HalfOfIt());
  Event event;
  EXPECT_TRUE(stream.Read(&event));
  EXPECT_FALSE(stream.Read(&event));
  EXPECT_THAT(stream.status(),
              StatusIs(absl::StatusCode::kDataLoss, "half of it"));
}

TEST_F(TtrpcGoServerTest, AClientStreamIsAnswered) {
  auto stream = echo().Sum();
  for (int i = 1; i <= 1000; ++i) ASSERT_THAT(stream.Write(Number(i)), IsOk());
  EXPECT_THAT(stream.Finish(), HoldsNumber(500500));
}

TEST_F(TtrpcGoServerTest, ABidirectionalStreamGoesBothWays) {
  auto stream = echo().Chat();
  Event event;
  for (int i = 0; i < 100; ++i) {
    ASSERT_THAT(stream.Write(Number(i)), IsOk());
    ASSERT_TRUE(stream.Read(&event));
    EXPECT_EQ(event.number(), i);
  }
  stream.WritesDone();
  EXPECT_FALSE(stream.Read(&event));
  EXPECT_THAT(stream.status(), IsOk());
}

TEST_F(TtrpcGoServerTest, TheServersDeathEndsTheCall) {
  absl::Status ended;
  std::thread caller([&] { ended = echo().Sleep({}, kLong).status(); });
  EXPECT_THAT(echo().Get(Number(1)), HoldsNumber(1));
  server_ = nullptr;
  caller.join();
  EXPECT_THAT(ended, StatusIs(absl::StatusCode::kUnavailable));
}

// What main.go expects of the service at the other end.
class EchoService final : public EchoHandler {
 public:
  absl::StatusOr<Event> Get(Call&, const Event& request) override {
    return request;
  }
  absl::StatusOr<Event> Fail(Call&, const Failure& request) override {
    return StatusOf(request);
  }
  absl::StatusOr<Heard> Hear(Call& call, const Event&) override {
    Heard heard;
    heard.set_metadata(
        std::string(rpc::Find(call.metadata(), "key").value_or("")));
    if (call.deadline() != absl::InfiniteFuture()) {
      heard.set_timeout_nanos(
          absl::ToInt64Nanoseconds(call.deadline() - absl::Now()));
    }
    return heard;
  }
  absl::StatusOr<Event> Sleep(Call& call, const Event&) override {
    rpc::Mutex mu;
    bool is_cancelled = false;
    call.OnCancel([&] {
      rpc::MutexLock lock(mu);
      is_cancelled = true;
      mu.NotifyAll();
    });
    rpc::MutexLock lock(mu);
    mu.Await([&] { return is_cancelled; });
    return absl::CancelledError("nobody waits");
  }
  absl::StatusOr<Event> Grow(Call&, const Event& request) override {
    return Bytes(request.number());
  }
  void Count(Call&, const Event& request, rpc::Writer<Event> out) override {
    for (std::uint64_t i = 0; i < request.number(); ++i) {
      while (absl::IsResourceExhausted(out.Write(Number(i)))) {
        rpc::Mutex mu;
        bool has_room = false;
        out.OnWritable([&] {
          rpc::MutexLock lock(mu);
          has_room = true;
          mu.NotifyAll();
        });
        rpc::MutexLock lock(mu);
        mu.Await([&] { return has_room; });
      }
    }
    out.Finish(absl::OkStatus());
  }
  void FailStream(Call&, const Failure& request,
                  rpc::Writer<Event> out) override {
    EXPECT_THAT(out.Write(Event()), IsOk());
    out.Finish(StatusOf(request));
  }
  void Sum(Call&, rpc::Reader<Event> in, rpc::Reply<Event> reply) override {
    Event event;
    std::uint64_t sum = 0;
    while (in.Read(&event)) sum += event.number();
    reply.Send(Number(sum));
  }
  void Chat(Call&, rpc::Reader<Event> in, rpc::Writer<Event> out) override {
    Event event;
    while (in.Read(&event)) EXPECT_THAT(out.Write(event), IsOk());
    out.Finish(absl::OkStatus());
  }

 private:
  static absl::Status StatusOf(const Failure& request) {
    absl::Status status(static_cast<absl::StatusCode>(request.code()),
                        request.message());
    if (request.has_detail()) {
      status.SetPayload("type.googleapis.com/tests.interop.Event",
                        absl::Cord(request.detail().SerializeAsString()));
    }
    return status;
  }
};

// A client in Go, and our server.
TEST(TtrpcGoClientTest, AllItsCallsAreAnsweredAsTheyShould) {
  const auto program = TtrpcGo();
  if (!program.ok()) GTEST_SKIP() << program.status().message();
  const rpc::testing::TempDir dir;
  EchoService service;
  // A connection may have half of the queue: room for 1,000 calls at once.
  auto server = rpc::Server::Start({.address = dir.Address("server"),
                                    .services = {Serve(service)},
                                    .max_queued_calls = 2048});
  ASSERT_THAT(server, IsOk());
  auto client =
      Process::Start({.command = {*program, "call", dir.File("server")},
                      .log_path = dir.File("log")});
  ASSERT_THAT(client, IsOk());
  EXPECT_THAT((*client)->Wait(absl::Seconds(120)), IsOkAndHolds(0))
      << rpc::ReadFile(dir.File("log")).value_or("");
}

}  // namespace
}  // namespace tandem::test

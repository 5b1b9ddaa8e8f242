// gRPC's own generated stubs, which outlive servers and are not fooled.

#include "rpc/client/stub_channel.h"

#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/mutex.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/rpc/wire/probe.grpc.pb.h"
#include "tests/support/child.h"
#include "tests/support/raw_socket.h"

namespace tandem::rpc {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::ProcessPair;
using testing::StatusIs;
using tests::wire::Item;
using tests::wire::Probe;

std::chrono::system_clock::time_point Soon() {
  return std::chrono::system_clock::now() + std::chrono::seconds(30);
}

grpc::Status Echo(Probe::Stub& stub) {
  grpc::ClientContext context;
  context.set_deadline(Soon());
  Item item;
  item.set_number(7);
  Item reply;
  const grpc::Status status = stub.Echo(&context, item, &reply);
  EXPECT_TRUE(!status.ok() || reply.number() == 7);
  return status;
}

grpc::Status EchoByCallback(Probe::Stub& stub) {
  grpc::ClientContext context;
  context.set_deadline(Soon());
  const Item item;
  Item reply;
  Mutex mu;
  bool is_over = false;
  grpc::Status end;
  stub.async()->Echo(&context, &item, &reply, [&](const grpc::Status& status) {
    MutexLock lock(mu);
    end = status;
    is_over = true;
    mu.NotifyAll();
  });
  MutexLock lock(mu);
  mu.Await([&] { return is_over; });
  return end;
}

// By a completion queue.
grpc::Status EchoByQueue(Probe::Stub& stub) {
  grpc::ClientContext context;
  context.set_deadline(Soon());
  grpc::CompletionQueue queue;
  Item reply;
  grpc::Status status;
  const auto call = stub.AsyncEcho(&context, Item(), &queue);
  call->Finish(&reply, &status, nullptr);
  void* tag;
  bool ok;
  queue.Next(&tag, &ok);
  return status;
}

int Count(Probe::Stub& stub, int number) {
  grpc::ClientContext context;
  context.set_deadline(Soon());
  Item item;
  item.set_number(number);
  const auto reader = stub.Count(&context, item);
  int count = 0;
  while (reader->Read(&item)) ++count;
  return reader->Finish().ok() ? count : -1;
}

int Sum(Probe::Stub& stub, int times) {
  grpc::ClientContext context;
  context.set_deadline(Soon());
  Item reply;
  const auto writer = stub.Sum(&context, &reply);
  Item item;
  item.set_number(1);
  for (int i = 0; i < times; ++i) writer->Write(item);
  writer->WritesDone();
  return writer->Finish().ok() ? reply.number() : -1;
}

int Chat(Probe::Stub& stub, int times) {
  grpc::ClientContext context;
  context.set_deadline(Soon());
  const auto stream = stub.Chat(&context);
  int count = 0;
  for (Item item; count < times && stream->Write(item) && stream->Read(&item);
       ++count) {
  }
  stream->WritesDone();
  return stream->Finish().ok() ? count : -1;
}

class StubChannelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(channel_, IsOk());
    stub_ = Probe::NewStub(*channel_);
  }

  ProcessPair pair_{
      {.server = {TANDEM_BIN_DIR "/rpc-probe-server", "{socket}"}}};
  absl::StatusOr<std::shared_ptr<grpc::ChannelInterface>> channel_ =
      NewStubChannel(pair_.address());
  std::unique_ptr<Probe::Stub> stub_;
};

TEST_F(StubChannelTest, OneStubMakesCallsOfEveryKindAcrossKillsOfTheServer) {
  for (int run = 0; run < 3; ++run) {
    const grpc::Status none = Echo(*stub_);
    EXPECT_EQ(none.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(none.error_message(), HasSubstr(pair_.address().substr(5)));
    EXPECT_EQ(EchoByCallback(*stub_).error_code(),
              grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(Chat(*stub_, 1), -1);

    ASSERT_THAT(pair_.Start(), IsOk());
    EXPECT_TRUE(Echo(*stub_).ok());
    EXPECT_TRUE(EchoByCallback(*stub_).ok());
    EXPECT_TRUE(EchoByQueue(*stub_).ok());
    EXPECT_EQ(Count(*stub_, 5), 5);
    EXPECT_EQ(Sum(*stub_, 5), 5);
    EXPECT_EQ(Chat(*stub_, 5), 5);
    pair_.Kill();
  }
}

TEST_F(StubChannelTest, AStreamThatTheServerDiedOnEndsAndTheNextOneBegins) {
  ASSERT_THAT(pair_.Start(), IsOk());
  grpc::ClientContext context;
  const auto stream = stub_->Chat(&context);
  Item item;
  ASSERT_TRUE(stream->Write(item));
  ASSERT_TRUE(stream->Read(&item));
  ASSERT_THAT(pair_.Restart(), IsOk());
  EXPECT_FALSE(stream->Read(&item));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Chat(*stub_, 1), 1);
}

TEST_F(StubChannelTest, ASocketThatOthersCouldReplaceIsSentNothing) {
  ASSERT_THAT(pair_.Start(), IsOk());
  const std::string directory =
      std::filesystem::path(pair_.address().substr(5)).parent_path();
  ASSERT_EQ(::chmod(directory.c_str(), 0777), 0);
  const grpc::Status refused = Echo(*stub_);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(refused.error_message(), HasSubstr("nothing was sent"));
  const auto trusting =
      NewStubChannel(pair_.address(), {.allow_shared_directory = "a test"});
  ASSERT_THAT(trusting, IsOk());
  EXPECT_TRUE(Echo(*Probe::NewStub(*trusting)).ok());
}

TEST_F(StubChannelTest, WaitsForAServerWhenAsked) {
  EXPECT_EQ((*channel_)->GetState(false), GRPC_CHANNEL_IDLE);
  EXPECT_EQ((*channel_)->GetState(true), GRPC_CHANNEL_TRANSIENT_FAILURE);
  EXPECT_FALSE((*channel_)->WaitForConnected(std::chrono::system_clock::now()));
  ASSERT_THAT(pair_.Launch(), IsOk());
  EXPECT_TRUE((*channel_)->WaitForConnected(Soon()));
  EXPECT_EQ((*channel_)->GetState(false), GRPC_CHANNEL_READY);
  EXPECT_TRUE(Echo(*stub_).ok());
}

TEST_F(StubChannelTest, NotifyOnStateChangeAnswersAtOnce) {
  grpc::CompletionQueue queue;
  int mine = 0;
  (*channel_)->NotifyOnStateChange(GRPC_CHANNEL_IDLE, Soon(), &queue, &mine);
  void* tag;
  bool changed = true;
  ASSERT_TRUE(queue.Next(&tag, &changed));
  EXPECT_EQ(tag, &mine);
  EXPECT_FALSE(changed);
}

TEST_F(StubChannelTest, CallsOfManyThreadsGoOnWhileServersComeAndGo) {
  std::atomic<bool> is_over{false};
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (!is_over) {
        const grpc::Status status = Echo(*stub_);
        if (status.ok()) ++answered;
        if (!status.ok()) {
          EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE)
              << status.error_message();
        }
      }
    });
  }
  for (int run = 0; run < 5; ++run) {
    const int before = answered;
    const absl::Status started = pair_.Start();
    EXPECT_THAT(started, IsOk());
    while (started.ok() && answered == before) std::this_thread::yield();
    pair_.Kill();
  }
  is_over = true;
  for (std::thread& thread : threads) thread.join();
}

TEST(NewStubChannelTest, AddressThatIsNoneIsRefused) {
  EXPECT_THAT(NewStubChannel("localhost:80").status(),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// In a directory where anybody may put a socket.
TEST(StubChannelImpostorTest, AnImpostorGetsNoByte) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  const testing::TempDir temp;
  ASSERT_EQ(::chmod(temp.path().c_str(), 01777), 0);
  test::Pipe ready;
  // Its exit status: how many clients sent it something.
  test::Child impostor([&] {
    if (!test::Become(test::kForeignUid)) return 99;
    const UniqueFd listening = test::ListenAt(temp.File("s"));
    if (!listening.is_valid()) return 99;
    ready.Write('y');
    int fooled = 0;
    for (int i = 0; i < 2; ++i) {
      const int client =
          ::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC);
      char byte;
      if (::recv(client, &byte, 1, 0) > 0) ++fooled;
      ::close(client);
    }
    return fooled;
  });
  ASSERT_EQ(ready.Read(), 'y');
  const auto channel = NewStubChannel(temp.Address("s"));
  ASSERT_THAT(channel, IsOk());
  const auto stub = Probe::NewStub(*channel);
  const grpc::Status blocking = Echo(*stub);
  EXPECT_EQ(blocking.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(blocking.error_message(), HasSubstr("runs as uid 54321"));
  EXPECT_EQ(EchoByCallback(*stub).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(impostor.Wait(), 0);
}

}  // namespace
}  // namespace tandem::rpc

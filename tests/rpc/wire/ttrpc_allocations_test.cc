// What a call over ttrpc allocates on the client's side.

#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/wire/ttrpc/ttrpc_transport.h"
#include "tests/rpc/wire/probe.tandem.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/rpc/wire/ttrpc_peer.h"

namespace {

// Of threads that count.
thread_local bool counts = false;
std::atomic<int> allocations{0};

}  // namespace

void* operator new(std::size_t bytes) {
  if (counts) ++allocations;
  if (void* const memory = std::malloc(bytes)) return memory;
  std::abort();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace tests::wire {
namespace {

using ::tandem::rpc::TtrpcTransport;
using ::tandem::rpc::UniqueFd;
using ::tandem::rpc::testing::IsOk;

class TtrpcAllocationsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server_ = std::thread([peer = TtrpcPeer(UniqueFd(ends[0]))]() mutable {
      while (const auto frame = peer.Read()) {
        peer.Send(ReplyFrame(frame->header.stream, Item()));
      }
    });
    auto transport =
        TtrpcTransport::Create(UniqueFd(ends[1]), {.peer = "unix:/test.sock"});
    ASSERT_THAT(transport, IsOk());
    transport_ = *std::move(transport);
    probe_ = std::make_unique<ProbeClient>(*transport_);
  }
  void TearDown() override {
    transport_ = nullptr;
    server_.join();
  }

  // Makes so many calls at once, then waits for their ends, which happen on the
  // transport's thread.
  void CallWithCallback(int at_once) {
    ended_ = 0;
    for (int i = 0; i < at_once; ++i) {
      probe_->Echo(request_, {}, [this](const absl::Status& status, Item&) {
        counts = is_counting_;
        if (!status.ok()) ++failed_;
        ++ended_;
      });
    }
    while (ended_ < at_once) std::this_thread::yield();
  }

  const Item request_;
  std::thread server_;
  std::unique_ptr<TtrpcTransport> transport_;
  std::unique_ptr<ProbeClient> probe_;
  std::atomic<int> ended_{0};
  std::atomic<int> failed_{0};
  std::atomic<bool> is_counting_{false};
};

TEST_F(TtrpcAllocationsTest, ABlockedCallerAllocatesNothing) {
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(probe_->Echo(request_).ok());
  bool are_ok = true;
  counts = true;
  for (int i = 0; i < 1000; ++i) are_ok &= probe_->Echo(request_).ok();
  counts = false;
  EXPECT_TRUE(are_ok);
  EXPECT_EQ(allocations.exchange(0), 0);
}

TEST_F(TtrpcAllocationsTest, ACallWithACallbackAllocatesNothing) {
  // More than are counted: the next may begin before the last has let go of
  // what it had.
  for (int i = 0; i < 100; ++i) CallWithCallback(8);
  is_counting_ = true;
  CallWithCallback(2);
  counts = true;
  for (int i = 0; i < 1000; ++i) CallWithCallback(2);
  counts = false;
  is_counting_ = false;
  CallWithCallback(2);
  EXPECT_EQ(failed_, 0);
  EXPECT_EQ(allocations.exchange(0), 0);
}

}  // namespace
}  // namespace tests::wire

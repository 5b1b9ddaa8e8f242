#include "rpc/server/call_guard.h"

#include <sys/socket.h>

#include <memory>

#include "gtest/gtest.h"
#include "rpc/base/unique_fd.h"
#include "rpc/testing/status_matchers.h"

namespace tandem::rpc {
namespace {

using absl::StatusCode;
using testing::IsOk;
using testing::StatusIs;

constexpr int kMaxCalls = 10;
// What may be refused at once beside as many.
constexpr int kBeside = 1000;

class CallGuardTest : public ::testing::Test {
 protected:
  CallGuardTest() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ours_ = UniqueFd(ends[0]);
    theirs_ = UniqueFd(ends[1]);
    connection_->SetSocket(ours_.get());
    EXPECT_THAT(policy_.AddRule("kv.v1.Store/Put=user:54321"), IsOk());
  }

  absl::Status Begin(std::string_view method) {
    return guard_.Begin(connection_, guard_.For("kv.v1.Store", method))
        .status();
  }

  UniqueFd ours_;
  UniqueFd theirs_;
  AccessPolicy policy_ = AccessPolicy::SameUser();
  RefusalLog refusals_{"unix:/run/kv.sock"};
  CallGuard guard_{policy_, kMaxCalls, refusals_};
  const std::shared_ptr<ServerConnection> connection_ =
      std::make_shared<ServerConnection>(Caller{.uid = 7, .connection_id = 1});
};

// gRPC goes on to bring what was begun before.
TEST_F(CallGuardTest, CallsOfAConnectionThatWasEndedDoNotBeginNorCount) {
  ASSERT_THAT(Begin("Get"), IsOk());
  ASSERT_TRUE(connection_->ShutDown());
  EXPECT_THAT(Begin("Get"), StatusIs(StatusCode::kCancelled));
  EXPECT_THAT(Begin("Put"), StatusIs(StatusCode::kCancelled));
  EXPECT_EQ(connection_->calls(), 1u);
  EXPECT_EQ(connection_->calls_in_flight(), 0);
  EXPECT_EQ(connection_->refused_calls(), 0u);
  EXPECT_EQ(refusals_.count(Refusal::kNotAllowedToCall), 0u);
}

TEST_F(CallGuardTest, AsManyAsMayBeRefusedAtOnceEndNoConnection) {
  for (int i = 0; i < kMaxCalls + kBeside; ++i) {
    ASSERT_THAT(Begin("Put"), StatusIs(StatusCode::kPermissionDenied)) << i;
  }
  EXPECT_FALSE(connection_->is_shut_down());
  EXPECT_EQ(refusals_.count(Refusal::kTooManyCallsForNothing), 0u);
}

TEST_F(CallGuardTest, MoreThanMayBeRefusedEndTheConnectionOnce) {
  // Some are forgiven meanwhile.
  int refused = 0;
  while (absl::IsPermissionDenied(Begin("Put"))) {
    ASSERT_LT(++refused, 1'000'000);
  }
  EXPECT_GE(refused, kMaxCalls + kBeside);
  EXPECT_TRUE(connection_->is_shut_down());
  EXPECT_EQ(refusals_.count(Refusal::kTooManyCallsForNothing), 1u);
  char byte;
  EXPECT_EQ(::recv(theirs_.get(), &byte, 1, 0), 0);
}

TEST_F(CallGuardTest, CallsThatAreGivenUpCountAsMuch) {
  const CallGuard::Method method = guard_.For("kv.v1.Store", "Get");
  for (int i = 0; i < 1'000'000 && !connection_->is_shut_down(); ++i) {
    guard_.CountGivenUp(*connection_, method);
  }
  EXPECT_TRUE(connection_->is_shut_down());
  EXPECT_EQ(connection_->refused_calls(), 0u);
  EXPECT_EQ(refusals_.count(Refusal::kTooManyCallsForNothing), 1u);
}

}  // namespace
}  // namespace tandem::rpc

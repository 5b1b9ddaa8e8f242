// Connections that break after every possible byte: between node and
// application, and between client and node.

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/sha256.h"
#include "rpc/client/channel.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"
#include "tandem/node/v1/node.tandem.h"
#include "tests/pair/cutting_proxy.h"
#include "tests/support/long_tests.h"
#include "tests/support/trace.h"
#include "tests/support/wire.h"

namespace tandem {
namespace {

using node::v1::AppStatus;
using node::v1::GetTransactionReply;
using rpc::testing::IsOk;
using rpc::testing::ProcessPair;

constexpr absl::Duration kGenerous = absl::Seconds(60);

// Every so manieth byte; with TANDEM_LONG_TESTS=1 every one.
std::int64_t Step() { return test::IsLong() ? 1 : 5; }

std::string PathOf(const std::string& address) {
  return address.substr(std::string("unix:").size());
}

class TornConnectionTest : public ::testing::Test {
 protected:
  TornConnectionTest()
      : app_({.server = {TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                         "{socket}", "--data", "{dir}/app"}}),
        to_app_(PathOf(app_.address())),
        node_({.server = {TANDEM_BIN_DIR "/tandem-node", "--app",
                          to_app_.address(), "--wire", test::WireOr("socket"),
                          "--listen", "{socket}", "--data", "{dir}/node",
                          "--record", "{dir}/trace"}}),
        to_node_(PathOf(node_.address())) {}

  void SetUp() override {
    ASSERT_THAT(app_.Start(), IsOk());
    ASSERT_THAT(node_.Start(), IsOk());
    auto channel = rpc::Channel::Connect(to_node_.address());
    ASSERT_THAT(channel, IsOk());
    channel_ = *std::move(channel);
    ASSERT_TRUE(AwaitRunning());
  }

  // A torn connection excuses nobody from the app contract.
  void TearDown() override {
    node_.Kill();
    EXPECT_THAT(ViolationsIn(node_.directory() + "/trace"),
                ::testing::IsEmpty());
  }

  bool AwaitRunning() {
    const absl::Time limit = absl::Now() + kGenerous;
    while (absl::Now() < limit) {
      const auto status = direct().Status({});
      if (status.ok() && status->app().state() == AppStatus::RUNNING &&
          status->height() > 0) {
        return true;
      }
      absl::SleepFor(absl::Milliseconds(1));
    }
    return false;
  }

  // One transaction, handed in until the node says that it is committed. It may
  // be told UNAVAILABLE, when it is in no block for certain, or nothing; then
  // it asks.
  void CommitForCertain(const std::string& tx) {
    node::v1::NodeClient client(*channel_);
    node::v1::SubmitRequest request;
    request.set_tx(tx);
    request.set_wait(node::v1::COMMIT);
    request.mutable_timeout()->set_seconds(absl::ToInt64Seconds(kGenerous));
    node::v1::GetTransactionRequest question;
    question.set_hash(rpc::Sha256(tx));
    const absl::Time limit = absl::Now() + kGenerous;
    while (absl::Now() < limit) {
      const auto reply = client.Submit(request, {.timeout = 2 * kGenerous});
      if (reply.ok()) {
        ASSERT_EQ(reply->result().code(), 0u);
        told_[tx] = reply->result().height();
        return;
      }
      ASSERT_TRUE(absl::IsUnavailable(reply.status()) ||
                  absl::IsAlreadyExists(reply.status()))
          << reply.status();
      ++unanswered_;
      GetTransactionReply found;
      do {
        const auto answer = client.GetTransaction(question);
        if (absl::IsNotFound(answer.status())) break;
        found = answer.value_or(GetTransactionReply());
      } while (found.state() != GetTransactionReply::COMMITTED &&
               absl::Now() < limit);
      if (found.state() == GetTransactionReply::COMMITTED) {
        told_[tx] = found.result().height();
        return;
      }
    }
    FAIL() << tx << " is never committed";
  }

  // Tears at every byte of a commit, in this direction.
  void TearAtEveryByte(CuttingProxy& proxy, CuttingProxy::Direction direction) {
    bool was_cut = true;
    std::int64_t bytes = 0;
    for (; was_cut; bytes += Step()) {
      proxy.CutAfter(direction, bytes);
      const std::string tx = absl::StrCat("k", direction, "-", bytes, "=v");
      ASSERT_NO_FATAL_FAILURE(CommitForCertain(tx)) << bytes;
      was_cut = proxy.has_cut();
      proxy.CutAfter(direction, -1);
      ASSERT_TRUE(AwaitRunning()) << bytes;
    }
    // More than the lengths of some frames.
    EXPECT_GT(bytes, 50);
  }

  // What clients were told is so, and each transaction is there once.
  void ExpectAllThereOnce() {
    const auto status = direct().Status({});
    ASSERT_THAT(status, IsOk());
    std::map<std::string, std::int64_t> blocks;
    for (std::int64_t height = 1; height <= status->height(); ++height) {
      node::v1::GetBlockRequest request;
      request.set_height(height);
      const auto block = direct().GetBlock(request);
      ASSERT_THAT(block, IsOk());
      for (const std::string& tx : block->block().txs()) {
        EXPECT_TRUE(blocks.emplace(tx, height).second) << tx << " came twice";
      }
    }
    EXPECT_EQ(blocks, told_);
  }

  // Past the tearing proxy.
  node::v1::NodeClient& direct() { return direct_; }

  ProcessPair app_;
  CuttingProxy to_app_;
  ProcessPair node_;
  CuttingProxy to_node_;
  node::v1::NodeClient direct_{node_.channel()};
  std::unique_ptr<rpc::Channel> channel_;
  std::map<std::string, std::int64_t> told_;
  int unanswered_ = 0;
};

TEST_F(TornConnectionTest, WhatTheNodeSendsToTheAppMayTearAtEveryByte) {
  TearAtEveryByte(to_app_, CuttingProxy::kToServer);
  ExpectAllThereOnce();
}

TEST_F(TornConnectionTest, WhatTheAppAnswersMayTearAtEveryByte) {
  TearAtEveryByte(to_app_, CuttingProxy::kToClient);
  ExpectAllThereOnce();
}

TEST_F(TornConnectionTest, WhatAClientSendsMayTearAtEveryByte) {
  TearAtEveryByte(to_node_, CuttingProxy::kToServer);
  EXPECT_GT(unanswered_, 0);
  ExpectAllThereOnce();
}

TEST_F(TornConnectionTest, WhatAClientIsAnsweredMayTearAtEveryByte) {
  TearAtEveryByte(to_node_, CuttingProxy::kToClient);
  EXPECT_GT(unanswered_, 0);
  ExpectAllThereOnce();
}

}  // namespace
}  // namespace tandem

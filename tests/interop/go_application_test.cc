// Our node with an application that is not ours: CometBFT's own key-value
// store, over both wires.

#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/client/channel.h"
#include "rpc/testing/process.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tandem/node/v1/node.tandem.h"
#include "tests/interop/cometbft.h"
#include "tests/interop/go_program.h"
#include "tests/support/eventually.h"

namespace tandem::test {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::Process;

constexpr char kAbciCli[] = "github.com/cometbft/cometbft/abci/cmd/abci-cli";

class GoApplicationTest : public ::testing::TestWithParam<CometBft> {
 protected:
  void SetUp() override {
    const auto program = GoProgram(kAbciCli, GetParam().version);
    if (!program.ok()) GTEST_SKIP() << program.status().message();
    program_ = *program;
    auto channel = rpc::Channel::Connect(temp_.Address("node.sock"));
    ASSERT_THAT(channel, IsOk());
    channel_ = *std::move(channel);
    StartApp();
    StartNode();
  }

  // Kills the one there was.
  void StartApp() {
    app_.reset();
    // It does not take over what a killed one left.
    ::unlink(temp_.File("app.sock").c_str());
    auto app = Process::Start(
        {.command = {program_, "kvstore", "--abci", GetParam().wire,
                     "--address",
                     absl::StrCat("unix://", temp_.File("app.sock")),
                     "--persist", temp_.File("app")},
         .log_path = temp_.File("app.log")});
    ASSERT_THAT(app, IsOk());
    app_ = *std::move(app);
  }
  void StartNode() {
    node_.reset();
    auto node = Process::Start(
        {.command = {TANDEM_BIN_DIR "/tandem-node", "--app",
                     temp_.Address("app.sock"), "--wire", GetParam().wire,
                     "--listen", temp_.Address("node.sock"), "--data",
                     temp_.File("node")},
         .log_path = temp_.File("node.log")});
    ASSERT_THAT(node, IsOk());
    node_ = *std::move(node);
  }

  node::v1::NodeClient Node() { return node::v1::NodeClient(*channel_); }

  // Hands it in until it is committed.
  bool Commit(const std::string& tx) {
    return Eventually([&] {
      node::v1::SubmitRequest request;
      request.set_tx(tx);
      request.set_wait(node::v1::COMMIT);
      const absl::Status status =
          Node().Submit(request, {.wait_for_ready = true}).status();
      return status.ok() || absl::IsAlreadyExists(status);
    });
  }

  std::string Get(const std::string& key) {
    std::string value;
    Eventually([&] {
      node::v1::QueryRequest request;
      request.set_data(key);
      const auto reply = Node().Query(request, {.wait_for_ready = true});
      if (reply.ok()) value = reply->value();
      return reply.ok();
    });
    return value;
  }

 private:
  const rpc::testing::TempDir temp_;
  std::string program_;
  std::unique_ptr<Process> app_;
  std::unique_ptr<Process> node_;
  std::unique_ptr<rpc::Channel> channel_;
};

TEST_P(GoApplicationTest, IsDrivenAndBroughtUpToDateAfterKills) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Commit(absl::StrCat("k", i, "=v", i)));
  }
  StartNode();
  ASSERT_TRUE(Commit("after-node=1"));
  StartApp();
  ASSERT_TRUE(Commit("after-app=1"));
  StartApp();
  StartNode();
  ASSERT_TRUE(Commit("after-both=1"));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Get(absl::StrCat("k", i)), absl::StrCat("v", i));
  }
  EXPECT_EQ(Get("after-node"), "1");
  EXPECT_EQ(Get("after-app"), "1");
  EXPECT_EQ(Get("after-both"), "1");
}

INSTANTIATE_TEST_SUITE_P(With, GoApplicationTest, AllCometBfts(),
                         [](const auto& cometbft) {
                           return NameOf(cometbft.param);
                         });

}  // namespace
}  // namespace tandem::test

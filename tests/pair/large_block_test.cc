// Blocks may have 100 MiB, more than a message between Tandem's programs by
// default.

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/server/server.h"
#include "rpc/testing/process.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/node/fake_app.h"
#include "tests/node/golden.h"
#include "tests/pair/pair.h"

namespace tandem {
namespace {

using rpc::testing::IsOk;
using rpc::testing::Process;
using rpc::testing::ProcessPair;
using ::testing::HasSubstr;

constexpr absl::Duration kGenerous = absl::Seconds(60);
constexpr std::size_t kDefaultMessage = 64 << 20;
constexpr char kGenesis[] = R"({
  "genesis_time": "2026-01-02T03:04:05Z",
  "chain_id": "large",
  "consensus_params": {
    "block": {"max_bytes": "104857600", "max_gas": "-1"},
    "evidence": {"max_age_num_blocks": "100000",
                 "max_age_duration": "172800000000000",
                 "max_bytes": "1048576"},
    "validator": {"pub_key_types": ["ed25519"]},
    "version": {"app": "0"}, "abci": {}
  },
  "validators": [{
    "address": "8C31DC5D886E28FFD48BBE6EE2E901C486794069",
    "pub_key": {"type": "tendermint/PubKeyEd25519",
                "value": "eGVygzLgOmO2RCtC75jusdS+/R6cUDK4PXD2Tl9VGlA="},
    "power": "10", "name": ""
  }]
})";

// The arguments of a node whose blocks may have as much as any.
std::vector<std::string> LargeBlocks(const rpc::testing::TempDir& dir) {
  std::ofstream(dir.File("genesis.json")) << kGenesis;
  std::ofstream(dir.File("key.json")) << node::kKeyFileOne;
  return {"--genesis", dir.File("genesis.json"), "--validator-key",
          dir.File("key.json")};
}

TEST(LargeBlockTest, AReaderIsGivenABlockOfMoreThanADefaultMessage) {
  rpc::testing::TempDir dir;
  node::FakeApp app;
  const auto server = rpc::Server::Start({.address = dir.Address("app.sock"),
                                          .services = {Serve(app)},
                                          .max_message_bytes = 256 << 20});
  ASSERT_THAT(server, IsOk());
  std::vector<std::string> command = {TANDEM_BIN_DIR "/tandem-node",
                                      "--app",
                                      (*server)->address(),
                                      "--wire",
                                      "grpc",
                                      "--listen",
                                      "{socket}",
                                      "--data",
                                      "{dir}/node",
                                      "--max-transaction-bytes",
                                      absl::StrCat(kDefaultMessage)};
  const auto large = LargeBlocks(dir);
  command.insert(command.end(), large.begin(), large.end());
  ProcessPair node({.server = command});
  ASSERT_THAT(node.Start(), IsOk());
  const auto watch = Process::Start(
      {.command = {TANDEM_BIN_DIR "/tandem", "watch", "--node", node.address(),
                   "--from", "1", "--count", "2"},
       .log_path = dir.File("watch")});
  ASSERT_THAT(watch, IsOk());

  node::v1::SubmitRequest request;
  // What still fits a request; with what stands around it in a block, it does
  // not.
  request.set_tx(std::string(kDefaultMessage - 100, 'x'));
  request.set_wait(node::v1::COMMIT);
  request.mutable_timeout()->set_seconds(60);
  node::v1::NodeClient client(node.channel());
  absl::StatusOr<node::v1::SubmitReply> reply;
  const absl::Time limit = absl::Now() + kGenerous;
  do {
    reply = client.Submit(request, {.timeout = kGenerous});
  } while (absl::IsUnavailable(reply.status()) && absl::Now() < limit);
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->result().height(), 2);
  EXPECT_THAT((*watch)->Wait(kGenerous), rpc::testing::IsOkAndHolds(0));
  std::ifstream words(dir.File("watch"));
  EXPECT_THAT(std::string(std::istreambuf_iterator<char>(words), {}),
              HasSubstr(" 1 txs"));
}

// The reference application makes small blocks, but chooses from all that would
// fit in a large one.
TEST(LargeBlockTest, TheReferenceApplicationIsOfferedMoreThanADefaultMessage) {
  constexpr int kCalls = 10;
  constexpr int kEach = 10;
  rpc::testing::TempDir dir;
  std::vector<std::string> arguments = LargeBlocks(dir);
  arguments.insert(arguments.end(), {"--mempool-bytes", "200000000"});
  Pair pair(arguments);
  ASSERT_THAT(pair.Start(), IsOk());
  for (int i = 0; i < kCalls; ++i) {
    node::v1::SubmitBatchRequest request;
    for (int j = 0; j < kEach; ++j) {
      request.add_txs(
          absl::StrCat("k", i, "-", j, "=", std::string((1 << 20) - 100, 'x')));
    }
    const auto reply =
        pair.client().SubmitBatch(request, {.timeout = kGenerous});
    ASSERT_THAT(reply, IsOk());
    for (const auto& result : reply->results()) {
      ASSERT_EQ(result.status(), 0) << result.message();
      ASSERT_EQ(result.result().code(), 0u) << result.result().log();
    }
  }
  auto status = pair.Status();
  ASSERT_THAT(status, IsOk());
  const auto before = status->height();
  const absl::Time limit = absl::Now() + kGenerous;
  while (status->height() < before + 2) {
    ASSERT_LT(absl::Now(), limit);
    ASSERT_EQ(status->app().state(), node::v1::AppStatus::RUNNING)
        << status->app().reason();
    absl::SleepFor(absl::Milliseconds(5));
    status = pair.Status();
    ASSERT_THAT(status, IsOk());
  }
}

}  // namespace
}  // namespace tandem

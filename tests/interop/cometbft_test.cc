// A real CometBFT node, one validator, that drives tandem-kvstore over the ABCI
// socket protocol and over gRPC.

#include "tests/interop/cometbft.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "google/protobuf/io/coded_stream.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/base/unique_fd.h"
#include "rpc/testing/process.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tendermint/abci/types.tandem.h"
#include "tests/interop/go_program.h"
#include "tests/support/eventually.h"
#include "tests/support/trace.h"

namespace tandem::test {
namespace {

namespace abci = ::tendermint::abci;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::IsOkAndHolds;
using ::tandem::rpc::testing::Process;
using ::tandem::rpc::testing::ProcessPair;
using ::testing::IsEmpty;

// What CometBFT answers to one request for a path of its JSON-RPC server, which
// listens on a unix socket: the result. Null when there is none.
nlohmann::json Ask(const std::string& socket, const std::string& path) {
  const rpc::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket.copy(address.sun_path, sizeof(address.sun_path) - 1);
  // It hangs where the node does.
  const timeval limit = {.tv_sec = 10, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0) {
    return nullptr;
  }
  const std::string request =
      absl::StrCat("GET ", path, " HTTP/1.0\r\nHost: localhost\r\n\r\n");
  ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
  std::string answer;
  char buffer[65536];
  for (ssize_t got = 0;
       (got = ::recv(fd.get(), buffer, sizeof(buffer), 0)) > 0;) {
    answer.append(buffer, static_cast<std::size_t>(got));
  }
  const auto body = answer.find("\r\n\r\n");
  if (body == std::string::npos) return nullptr;
  const auto json = nlohmann::json::parse(answer.substr(body), nullptr, false);
  return json.is_object() && json.contains("result") ? json["result"]
                                                     : nlohmann::json();
}

constexpr char kPackage[] = "github.com/cometbft/cometbft/cmd/cometbft";

class CometBftTest : public ::testing::TestWithParam<CometBft> {
 protected:
  CometBftTest()
      : app_({.server = {TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                         "{socket}", "--data", "{dir}", "--record",
                         temp_.File("trace")}}) {}

  void SetUp() override {
    const auto program = GoProgram(kPackage, GetParam().version);
    if (!program.ok()) GTEST_SKIP() << program.status().message();
    program_ = *program;
    ASSERT_THAT(app_.Start(), IsOk());
    const auto init = Start({"init"});
    ASSERT_THAT(init, IsOk());
    ASSERT_THAT((*init)->Wait(absl::Seconds(60)), IsOkAndHolds(0));
    Configure();
  }

  void TearDown() override {
    if (!program_.empty()) {
      app_.Kill();
      EXPECT_THAT(ViolationsIn(temp_.File("trace")), IsEmpty());
    }
    if (HasFailure()) {
      const std::string log = rpc::ReadFile(temp_.File("log")).value_or("");
      printf("--- the end of what cometbft wrote:\n%s\n---\n",
             log.substr(log.size() > 4000 ? log.size() - 4000 : 0).c_str());
    }
  }

  absl::StatusOr<std::unique_ptr<Process>> Start(
      std::vector<std::string> arguments,
      std::vector<std::string> environment = {}) {
    arguments.insert(arguments.begin(), program_);
    arguments.insert(arguments.end(), {"--home", temp_.File("home")});
    return Process::Start({.command = std::move(arguments),
                           .log_path = temp_.File("log"),
                           .environment = std::move(environment)});
  }

  // Fast blocks, and addresses that nobody else has.
  void Configure() {
    const std::string path = temp_.File("home/config/config.toml");
    const std::string text = absl::StrReplaceAll(
        rpc::ReadFile(path).value_or(""),
        {{"timeout_commit = \"1s\"", "timeout_commit = \"10ms\""},
         {"laddr = \"tcp://127.0.0.1:26657\"",
          absl::StrCat("laddr = \"unix://", RpcSocket(), "\"")},
         {"laddr = \"tcp://0.0.0.0:26656\"", "laddr = \"tcp://127.0.0.1:0\""}});
    std::ofstream(path) << text;
  }

  // What it has said in all its runs.
  std::string Log() const {
    return rpc::ReadFile(temp_.File("log")).value_or("");
  }

  std::string RpcSocket() const { return temp_.File("rpc.sock"); }

  // With `environment`, such as FAIL_TEST_INDEX=N: it exits where its sources
  // say so for the N-th time, from 0.
  absl::StatusOr<std::unique_ptr<Process>> StartNode(
      std::vector<std::string> environment = {}) {
    // It does not take over what a killed one left.
    ::unlink(RpcSocket().c_str());
    return Start({"start", "--abci", GetParam().wire, "--proxy_app",
                  "unix://" + app_.address().substr(5)},
                 std::move(environment));
  }

  // Whether the node took it into its mempool.
  bool Submit(const std::string& key) {
    const nlohmann::json result = Ask(
        RpcSocket(), absl::StrCat("/broadcast_tx_sync?tx=%22", key, "%3Dv%22"));
    return result.is_object() && result.value("code", 1) == 0;
  }

  // Hands in a transaction again and again until the application has it.
  bool SubmitForCertain(const std::string& key) {
    return Eventually([&] { return Submit(key) || Has(key); }) &&
           Eventually([&] { return Has(key); });
  }

  bool Has(const std::string& key) {
    abci::RequestQuery request;
    request.set_data(key);
    const auto answer = abci::ABCIClient(app_.channel()).Query(request);
    return answer.ok() && answer->value() == "v";
  }

  // The application's height, app hash and number of transactions are those
  // that the engine has, block by block. The engine itself compares the app
  // hash at each start, and stops when it is another one.
  void ExpectSameHistory() {
    std::int64_t height = 0;
    std::string app_hash;
    ASSERT_TRUE(Eventually([&] {
      const nlohmann::json info = Ask(RpcSocket(), "/abci_info");
      if (!info.is_object()) return false;
      height = std::stoll(info["response"].value("last_block_height", "0"));
      app_hash = info["response"].value("last_block_app_hash", "");
      return height > 0;
    }));
    // The header after it has the hash.
    const std::string next = absl::StrCat("/block?height=", height + 1);
    nlohmann::json after;
    ASSERT_TRUE(Eventually([&] {
      after = Ask(RpcSocket(), next);
      return after.is_object();
    }));
    const std::string in_header = after["block"]["header"]["app_hash"];
    std::string decoded;
    ASSERT_TRUE(absl::Base64Unescape(app_hash, &decoded));
    EXPECT_EQ(absl::BytesToHexString(decoded),
              absl::AsciiStrToLower(in_header));
    std::size_t transactions = 0;
    for (std::int64_t at = 1; at <= height; ++at) {
      const auto block = Ask(RpcSocket(), absl::StrCat("/block?height=", at));
      ASSERT_TRUE(block.is_object()) << at;
      transactions += block["block"]["data"]["txs"].size();
    }
    // A zigzag varint of the number.
    std::uint64_t zigzag = 0;
    google::protobuf::io::CodedInputStream(
        reinterpret_cast<const std::uint8_t*>(decoded.data()),
        static_cast<int>(decoded.size()))
        .ReadVarint64(&zigzag);
    EXPECT_EQ(zigzag, 2 * transactions);
  }

  std::int64_t Height() {
    abci::ABCIClient app(app_.channel());
    const auto info = app.Info({}, {.timeout = absl::Seconds(30)});
    return info.ok() ? info->last_block_height() : -1;
  }

  bool WaitForHeight(std::int64_t height) {
    return Eventually([&] { return Height() >= height; });
  }

  const rpc::testing::TempDir temp_;
  ProcessPair app_;
  std::string program_;
};

TEST_P(CometBftTest, MakesBlocksWithOurApplication) {
  const auto node = StartNode();
  ASSERT_THAT(node, IsOk());
  EXPECT_TRUE(WaitForHeight(5));
}

// TearDown() looks at the votes in its requests: who is added is asked for one
// from the third block on.
TEST_P(CometBftTest, ExpectsVotesOfAValidatorThatTheApplicationAdds) {
  const auto node = StartNode();
  ASSERT_THAT(node, IsOk());
  ASSERT_TRUE(WaitForHeight(2));
  const std::string key(32, 'k');
  const std::string tx =
      absl::StrCat("val=ed25519!", absl::Base64Escape(key), "!1");
  const nlohmann::json result =
      Ask(RpcSocket(),
          absl::StrCat("/broadcast_tx_sync?tx=0x", absl::BytesToHexString(tx)));
  ASSERT_TRUE(result.is_object());
  EXPECT_EQ(result["code"], 0) << result;
  abci::RequestQuery request;
  request.set_path("/val");
  request.set_data(key);
  abci::ABCIClient app(app_.channel());
  EXPECT_TRUE(Eventually([&] {
    const auto answer = app.Query(request);
    return answer.ok() && !answer->value().empty();
  }));
  EXPECT_TRUE(WaitForHeight(Height() + 5));
}

// Both are killed; the node asks Info, and goes on where the app is.
TEST_P(CometBftTest, GoesOnAfterBothWereKilled) {
  auto node = StartNode();
  ASSERT_THAT(node, IsOk());
  ASSERT_TRUE(WaitForHeight(5));
  node->reset();
  app_.Kill();
  ASSERT_THAT(app_.Start(), IsOk());
  const std::int64_t height = Height();
  EXPECT_GE(height, 5);
  node = StartNode();
  ASSERT_THAT(node, IsOk());
  EXPECT_TRUE(WaitForHeight(height + 5));
}

TEST_P(CometBftTest, LosesNothingOfAThousandTransactionsWhenEitherIsKilled) {
  auto node = StartNode();
  ASSERT_THAT(node, IsOk());
  ASSERT_TRUE(WaitForHeight(2));
  // It has been seen to panic: "rechecking has not finished; cannot check new
  // tx". Its operator starts it again, and its mempool is empty then.
  const auto keep_up = [&] {
    if (!(*node)->is_running()) node = StartNode();
    return node.ok();
  };
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(Eventually([&] {
      return keep_up() && Submit(absl::StrCat("k", i));
    })) << i;
  }
  for (int i = 0; i < 1000; ++i) {
    const std::string key = absl::StrCat("k", i);
    ASSERT_TRUE(Eventually([&] {
      if (Has(key)) return true;
      keep_up() && Submit(key);  // Refused where it has it.
      return false;
    })) << key;
  }

  // Over gRPC the engine lives on, and knows of no other call than the next
  // block's. Or it was in a call, and stands still: its operator starts it
  // again, as after its end, which is what it makes of it over the socket.
  const std::size_t said = Log().size();
  app_.Kill();
  ASSERT_THAT(app_.Start(), IsOk());
  const std::int64_t height = Height();
  const auto stands_still = [&] {
    return !(*node)->is_running() ||
           Log().find("CONSENSUS FAILURE", said) != std::string::npos ||
           Log().find("connection terminated", said) != std::string::npos;
  };
  if (!Eventually([&] { return Height() > height || stands_still(); }) ||
      stands_still()) {
    node->reset();
    node = StartNode();
    ASSERT_THAT(node, IsOk());
  }
  ASSERT_TRUE(SubmitForCertain("after-app"));

  node->reset();
  node = StartNode();
  ASSERT_THAT(node, IsOk());
  ASSERT_TRUE(SubmitForCertain("after-node"));

  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(Has(absl::StrCat("k", i))) << i;
  }
  ExpectSameHistory();
}

TEST_P(CometBftTest, GoesOnAfterEachOfItsCrashPoints) {
  for (int point = 0; point <= 12; ++point) {
    const std::int64_t before = Height();
    const std::string key = absl::StrCat("at", point);
    auto node = StartNode({absl::StrCat("FAIL_TEST_INDEX=", point)});
    ASSERT_THAT(node, IsOk());
    // Some transaction is under way when it crashes, where it lives so long.
    while ((*node)->is_running() && !Submit(key)) {
    }
    EXPECT_THAT((*node)->Wait(absl::Seconds(60)), IsOkAndHolds(1)) << point;
    EXPECT_GE(Height(), before) << point;
    node = StartNode();
    ASSERT_THAT(node, IsOk());
    ASSERT_TRUE(SubmitForCertain(key)) << point;
    // That may have been in the block it was in the middle of, which its log
    // does not tell it is done with, so that another crash in the next one has
    // it stuck for good: it is past that only with a block of its own.
    ASSERT_TRUE(SubmitForCertain(absl::StrCat("after", point))) << point;
    if (point == 12) ExpectSameHistory();
  }
  for (int point = 0; point <= 12; ++point) {
    EXPECT_TRUE(Has(absl::StrCat("at", point))) << point;
  }
}

INSTANTIATE_TEST_SUITE_P(With, CometBftTest, AllCometBfts(),
                         [](const auto& cometbft) {
                           return NameOf(cometbft.param);
                         });

}  // namespace
}  // namespace tandem::test

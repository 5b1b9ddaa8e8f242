// tandem-kvstore, as the process that it is.

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/process.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tendermint/abci/types.tandem.h"

namespace tandem::app {
namespace {

namespace abci = ::tendermint::abci;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::IsOkAndHolds;
using ::tandem::rpc::testing::Process;
using ::tandem::rpc::testing::ProcessPair;
using ::tandem::rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kProgram[] = TANDEM_BIN_DIR "/tandem-kvstore";
constexpr absl::Duration kGenerous = absl::Seconds(60);

// A node in short: the calls that make blocks. The value of the key "h" is the
// height in every block, and each block has a key of its own.
class Chain {
 public:
  explicit Chain(rpc::Transport& transport) : app_(transport) {}

  absl::Status Begin() {
    abci::RequestInitChain request;
    request.set_chain_id("test");
    request.set_initial_height(1);
    return app_.InitChain(request, kOptions).status();
  }

  absl::Status Finalize(std::int64_t height) {
    abci::RequestFinalizeBlock request;
    request.set_height(height);
    request.add_txs(absl::StrCat("h=", height));
    request.add_txs(absl::StrCat("block", height, "=", height));
    return app_.FinalizeBlock(request, kOptions).status();
  }

  absl::Status Commit() { return app_.Commit({}, kOptions).status(); }

  absl::Status CommitBlock(std::int64_t height) {
    if (absl::Status status = Finalize(height); !status.ok()) return status;
    return Commit();
  }

  // Waits for the app, where others fail at once without one.
  absl::StatusOr<abci::ResponseInfo> Info() {
    return app_.Info({}, {.timeout = kGenerous, .wait_for_ready = true});
  }

  // The value of a key; nothing when there is none.
  std::string ValueOf(const std::string& key) {
    abci::RequestQuery request;
    request.set_data(key);
    const auto answer = app_.Query(request, kOptions);
    return answer.ok() ? answer->value() : answer.status().ToString();
  }

  // That the state is the one after the block of `height`, no more, no less.
  void ExpectAt(std::int64_t height) {
    const auto info = Info();
    ASSERT_THAT(info, IsOk());
    EXPECT_EQ(info->last_block_height(), height);
    EXPECT_EQ(info->data(), absl::StrCat("{\"size\":", 2 * height, "}"));
    EXPECT_EQ(ValueOf("h"), absl::StrCat(height));
    EXPECT_EQ(ValueOf(absl::StrCat("block", height)), absl::StrCat(height));
    EXPECT_EQ(ValueOf(absl::StrCat("block", height + 1)), "");
  }

 private:
  static inline const rpc::CallOptions kOptions = {.timeout = kGenerous};
  abci::ABCIClient app_;
};

class KvStoreProgramTest : public ::testing::Test {
 protected:
  KvStoreProgramTest()
      : pair_(
            {.server = {kProgram, "--listen", "{socket}", "--data", "{dir}"}}),
        chain_(pair_.channel()) {}

  ProcessPair pair_;
  Chain chain_;
};

TEST_F(KvStoreProgramTest, StopsOnSigtermAndRemovesItsSocket) {
  ASSERT_THAT(pair_.Start(), IsOk());
  ASSERT_THAT(chain_.Begin(), IsOk());
  ASSERT_THAT(chain_.CommitBlock(1), IsOk());
  const std::string socket = pair_.address().substr(sizeof("unix:") - 1);
  EXPECT_TRUE(std::filesystem::exists(socket));
  EXPECT_THAT(pair_.Terminate(), IsOkAndHolds(0));
  EXPECT_FALSE(std::filesystem::exists(socket));
  EXPECT_THAT(pair_.Log(), HasSubstr("listening on unix:"));
  ASSERT_THAT(pair_.Start(), IsOk());
  chain_.ExpectAt(1);
}

TEST_F(KvStoreProgramTest, CommittedBlockSurvivesSigkill) {
  ASSERT_THAT(pair_.Start(), IsOk());
  ASSERT_THAT(chain_.Begin(), IsOk());
  ASSERT_THAT(chain_.CommitBlock(1), IsOk());
  ASSERT_THAT(chain_.Finalize(2), IsOk());
  pair_.Kill();
  ASSERT_THAT(pair_.Start(), IsOk());
  chain_.ExpectAt(1);
  EXPECT_THAT(chain_.Commit(), StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(chain_.CommitBlock(2), IsOk());
  chain_.ExpectAt(2);
}

// Killed at random moments of a stream of blocks, it has all of a block or
// nothing of it, and everything that it has acknowledged.
TEST_F(KvStoreProgramTest, SigkillNeverLeavesHalfABlock) {
  std::mt19937 random(std::random_device{}());
  ASSERT_THAT(pair_.Start(), IsOk());
  ASSERT_THAT(chain_.Begin(), IsOk());
  ASSERT_THAT(chain_.CommitBlock(1), IsOk());
  std::int64_t acknowledged = 1;
  for (int round = 0; round < 15; ++round) {
    const auto delay = absl::Microseconds(random() % 30000);
    std::thread killer([this, delay] {
      absl::SleepFor(delay);
      ::kill(pair_.pid(), SIGKILL);
    });
    while (chain_.CommitBlock(acknowledged + 1).ok()) ++acknowledged;
    killer.join();
    ASSERT_THAT(pair_.Restart(), IsOk());
    const auto info = chain_.Info();
    ASSERT_THAT(info, IsOk());
    // The block on its way may have become durable without an answer.
    ASSERT_GE(info->last_block_height(), acknowledged);
    ASSERT_LE(info->last_block_height(), acknowledged + 1);
    acknowledged = info->last_block_height();
    chain_.ExpectAt(acknowledged);
  }
}

TEST_F(KvStoreProgramTest, OtherClientsAreServedWhileOneWorks) {
  ASSERT_THAT(pair_.Start(), IsOk());
  ASSERT_THAT(chain_.Begin(), IsOk());
  const auto other = rpc::Channel::Connect(pair_.address());
  ASSERT_THAT(other, IsOk());
  Chain reader(**other);
  ASSERT_THAT(chain_.CommitBlock(1), IsOk());
  ASSERT_THAT(chain_.Finalize(2), IsOk());
  reader.ExpectAt(1);
  ASSERT_THAT(chain_.Commit(), IsOk());
  reader.ExpectAt(2);
}

// --- Started wrongly ---

struct Ended {
  int status = -1;
  std::string output;
};

// Runs the program to its end.
Ended RunToEnd(std::vector<std::string> command) {
  const rpc::testing::TempDir temp;
  const auto process = Process::Start(
      {.command = std::move(command), .log_path = temp.File("log")});
  if (!process.ok()) return {.output = process.status().ToString()};
  const auto status = (*process)->Wait(kGenerous);
  return {.status = status.value_or(-1),
          .output = rpc::ReadFile(temp.File("log")).value_or("")};
}

class KvStoreStartTest : public ::testing::Test {
 protected:
  Ended Start(const std::string& data, std::vector<std::string> more = {}) {
    std::vector<std::string> command = {
        kProgram, "--listen", temp_.Address("app.sock"), "--data", data};
    command.insert(command.end(), more.begin(), more.end());
    return RunToEnd(command);
  }

  const rpc::testing::TempDir temp_;
};

TEST_F(KvStoreStartTest, HelpHasAnExample) {
  const Ended ended = RunToEnd({kProgram, "--help"});
  EXPECT_EQ(ended.status, 0);
  EXPECT_THAT(ended.output, AllOf(HasSubstr("Example:"), HasSubstr("--listen"),
                                  HasSubstr("--data"), HasSubstr("--mode"),
                                  HasSubstr("--group")));
}

TEST_F(KvStoreStartTest, DirectoryOfAnotherProgramIsRefused) {
  const std::string data = temp_.File("data");
  std::filesystem::create_directory(data);
  std::ofstream(data + "/tandem-node.json") << "{}";
  const Ended ended = Start(data);
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.output,
              AllOf(HasSubstr(data), HasSubstr("tandem-node.json")));
}

TEST_F(KvStoreStartTest, DirectoryOfAnotherVersionIsRefused) {
  const std::string data = temp_.File("data");
  std::filesystem::create_directory(data);
  std::ofstream(data + "/tandem-kvstore.json")
      << R"({"program":"tandem-kvstore","store_version":99})";
  const Ended ended = Start(data);
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.output, HasSubstr("store version 99"));
}

TEST_F(KvStoreStartTest, DirectoryInUseIsRefused) {
  ProcessPair pair(
      {.server = {kProgram, "--listen", "{socket}", "--data", "{dir}"}});
  ASSERT_THAT(pair.Start(), IsOk());
  const Ended ended = Start(pair.directory());
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.output,
              AllOf(HasSubstr(pair.directory()), HasSubstr("in use")));
}

TEST_F(KvStoreStartTest, SocketInUseIsRefused) {
  ProcessPair pair(
      {.server = {kProgram, "--listen", "{socket}", "--data", "{dir}"}});
  ASSERT_THAT(pair.Start(), IsOk());
  const Ended ended = RunToEnd(
      {kProgram, "--listen", pair.address(), "--data", temp_.File("data")});
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.output, HasSubstr(pair.address().substr(5)));
}

TEST_F(KvStoreStartTest, DatabaseThatCannotBeReadIsRefused) {
  const std::string data = temp_.File("data");
  std::filesystem::create_directories(data + "/state");
  std::ofstream(data + "/tandem-kvstore.json")
      << R"({"program":"tandem-kvstore","store_version":1})";
  std::ofstream(data + "/state/CURRENT") << "nonsense";
  const Ended ended = Start(data);
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.output, HasSubstr(data + "/state"));
}

TEST_F(KvStoreStartTest, DirectoryThatIsNotWritableIsRefused) {
  const std::string data = temp_.File("data");
  std::filesystem::create_directory(data);
  ASSERT_EQ(::chmod(data.c_str(), 0555), 0);
  std::vector<std::string> command = {
      kProgram, "--listen", temp_.Address("app.sock"), "--data", data};
  if (::geteuid() == 0) {
    // Root may write everywhere, so somebody else tries.
    ASSERT_EQ(::chmod(temp_.path().c_str(), 0755), 0);
    if (::access("/usr/bin/setpriv", X_OK) != 0) {
      GTEST_SKIP() << "needs setpriv: apt-get install util-linux";
    }
    command.insert(command.begin(), {"/usr/bin/setpriv", "--reuid=65534",
                                     "--clear-groups", "--"});
  }
  const Ended ended = RunToEnd(command);
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.output, AllOf(HasSubstr(data), HasSubstr("cannot write"),
                                  HasSubstr("Permission denied")));
}

TEST_F(KvStoreStartTest, WrongArgumentsAreNamed) {
  const std::string data = temp_.File("data");
  EXPECT_EQ(Start(data, {"--mode", "0999"}).status, 2);
  EXPECT_THAT(Start(data, {"--mode", "rw"}).output, HasSubstr("--mode"));
  EXPECT_THAT(Start(data, {"--group", "no-such-group"}).output,
              HasSubstr("no-such-group"));
  EXPECT_THAT(Start("").output, HasSubstr("--data"));
  EXPECT_THAT(RunToEnd({kProgram, "--listen", "", "--data", data}).output,
              HasSubstr("unix:"));
  EXPECT_EQ(RunToEnd({kProgram, "--listen", "tcp://0.0.0.0:1", "--data", data})
                .status,
            2);
  EXPECT_EQ(RunToEnd({kProgram, "--no-such-option"}).status, 2);
  // None of these was a reason to make it.
  EXPECT_FALSE(std::filesystem::exists(data));
}

TEST_F(KvStoreStartTest, ModeAndGroupAreThoseOfTheSocket) {
  ProcessPair pair({.server = {kProgram, "--listen", "{socket}", "--data",
                               "{dir}", "--group", absl::StrCat(::getegid())}});
  ASSERT_THAT(pair.Start(), IsOk());
  struct stat info;
  ASSERT_EQ(::stat(pair.address().substr(5).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0660u);
  EXPECT_EQ(info.st_gid, ::getegid());
}

TEST_F(KvStoreStartTest, AddressAndDirectoryDefaultToThoseOfThePair) {
  const std::string data = temp_.File("pair");
  const auto process =
      Process::Start({.command = {kProgram},
                      .log_path = temp_.File("log"),
                      .environment = {absl::StrCat("TANDEM_DATA=", data)}});
  ASSERT_THAT(process, IsOk());
  const auto channel =
      rpc::Channel::Connect(absl::StrCat("unix:", data, "/run/app.sock"));
  ASSERT_THAT(channel, IsOk());
  EXPECT_THAT((*channel)->WaitForConnected(kGenerous), IsOk());
  EXPECT_TRUE(std::filesystem::exists(data + "/app/tandem-kvstore.json"));
}

}  // namespace
}  // namespace tandem::app

#include "app/abci_service.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "app/kvstore/kv_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/mutex.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::app {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::Duration kGenerous = absl::Seconds(60);

// One with a call in flight.
std::shared_ptr<rpc::ServerConnection> NewConnection() {
  auto connection = std::make_shared<rpc::ServerConnection>(rpc::Caller());
  EXPECT_TRUE(connection->BeginCall(1));
  return connection;
}

// A call as a wire makes it, on no wire: all that these tests race is ours.
template <typename Q, typename R>
class FakeCall final : public rpc::ServerCall {
 public:
  explicit FakeCall(Q request = {})
      : ServerCall(rpc::ActiveCall(NewConnection())),
        request_(std::move(request)) {}

  const Q& request() const override { return request_; }

  void Finish(const absl::Status& status,
              google::protobuf::MessageLite* reply) override {
    rpc::MutexLock lock(mu_);
    answer_ = status.ok() ? absl::StatusOr<R>(static_cast<R&>(*reply))
                          : absl::StatusOr<R>(status);
    mu_.NotifyAll();
  }

  // Lets a method that answers later begin.
  using Later = void (AbciService::*)(rpc::Call&, const Q&, rpc::Reply<R>);
  FakeCall& Begin(AbciService& service, Later method) {
    (service.*method)(*this, request_, rpc::Reply<R>(this));
    return *this;
  }

  absl::StatusOr<R> Wait() {
    rpc::MutexLock lock(mu_);
    if (!mu_.AwaitFor(kGenerous, [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
          return answer_.has_value();
        })) {
      return absl::DeadlineExceededError("the service does not answer");
    }
    return *answer_;
  }

  void Cancel() { MarkCancelled(); }

 private:
  const Q request_;
  rpc::Mutex mu_;
  std::optional<absl::StatusOr<R>> answer_ ABSL_GUARDED_BY(mu_);
};

using FinalizeCall =
    FakeCall<abci::RequestFinalizeBlock, abci::ResponseFinalizeBlock>;
using ProcessCall =
    FakeCall<abci::RequestProcessProposal, abci::ResponseProcessProposal>;
using CommitCall = FakeCall<abci::RequestCommit, abci::ResponseCommit>;
using QueryCall = FakeCall<abci::RequestQuery, abci::ResponseQuery>;
using CheckTxCall = FakeCall<abci::RequestCheckTx, abci::ResponseCheckTx>;
using InfoCall = FakeCall<abci::RequestInfo, abci::ResponseInfo>;

FinalizeCall Block(std::int64_t height, std::vector<std::string> txs) {
  abci::RequestFinalizeBlock request;
  request.set_height(height);
  for (const std::string& tx : txs) request.add_txs(tx);
  return FinalizeCall(std::move(request));
}

// A block as tools send them: in any order.
FinalizeCall BlockOf(const std::string& tx) { return Block(0, {tx}); }

// Holds up its blocks, of one transaction each, until told, and notes which
// came.
class SlowApplication : public Application {
 public:
  absl::StatusOr<abci::ResponseFinalizeBlock> FinalizeBlock(
      const abci::RequestFinalizeBlock& request) override {
    rpc::MutexLock lock(mu_);
    txs_.push_back(request.txs(0));
    mu_.NotifyAll();
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return open_; });
    abci::ResponseFinalizeBlock answer;
    answer.add_tx_results();
    return answer;
  }

  absl::StatusOr<abci::ResponseQuery> Query(
      const abci::RequestQuery& request) override {
    return abci::ResponseQuery();
  }

  void Open() {
    rpc::MutexLock lock(mu_);
    open_ = true;
    mu_.NotifyAll();
  }

  bool WaitForBlocks(std::size_t count) {
    rpc::MutexLock lock(mu_);
    return mu_.AwaitFor(kGenerous,
                        [this, count]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
                          return txs_.size() >= count;
                        });
  }

  std::vector<std::string> txs() {
    rpc::MutexLock lock(mu_);
    return txs_;
  }

 private:
  rpc::Mutex mu_;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::string> txs_ ABSL_GUARDED_BY(mu_);
};

TEST(AbciServiceTest, AnswersEchoAndFlushByItself) {
  Application app;
  AbciService service(app);
  FakeCall<abci::RequestEcho, abci::ResponseEcho> call;
  abci::RequestEcho request;
  request.set_message("\xff");
  EXPECT_EQ(service.Echo(call, request)->message(), "\xff");
  EXPECT_THAT(service.Flush(call, {}), IsOk());
}

TEST(AbciServiceTest, QueryDoesNotWaitForABlock) {
  SlowApplication app;
  AbciService service(app);
  FinalizeCall block = BlockOf("1");
  block.Begin(service, &AbciService::FinalizeBlock);
  ASSERT_TRUE(app.WaitForBlocks(1));
  QueryCall query;
  EXPECT_THAT(service.Query(query, query.request()), IsOk());
  app.Open();
  EXPECT_THAT(block.Wait(), IsOk());
}

TEST(AbciServiceTest, ConsensusCallsRunInTheOrderInWhichTheyCame) {
  SlowApplication app;
  AbciService service(app);
  std::vector<std::unique_ptr<FinalizeCall>> calls;
  std::vector<std::string> txs;
  for (int i = 1; i <= 10; ++i) {
    txs.push_back(absl::StrCat(i));
    calls.push_back(
        std::make_unique<FinalizeCall>(BlockOf(txs.back()).request()));
    calls.back()->Begin(service, &AbciService::FinalizeBlock);
  }
  ASSERT_TRUE(app.WaitForBlocks(1));
  EXPECT_EQ(app.txs().size(), 1u);
  app.Open();
  for (const auto& call : calls) EXPECT_THAT(call->Wait(), IsOk());
  EXPECT_EQ(app.txs(), txs);
}

TEST(AbciServiceTest, CallWhoseClientIsGoneIsNotRun) {
  SlowApplication app;
  AbciService service(app);
  FinalizeCall first = BlockOf("1");
  FinalizeCall second = BlockOf("2");
  first.Begin(service, &AbciService::FinalizeBlock);
  second.Begin(service, &AbciService::FinalizeBlock);
  ASSERT_TRUE(app.WaitForBlocks(1));
  second.Cancel();
  app.Open();
  EXPECT_THAT(first.Wait(), IsOk());
  EXPECT_THAT(second.Wait(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(app.txs(), std::vector<std::string>{"1"});
}

TEST(AbciServiceTest, RefusesWhatWouldWaitBehindTooMany) {
  SlowApplication app;
  AbciService service(app);
  FinalizeCall running = BlockOf("1");
  running.Begin(service, &AbciService::FinalizeBlock);
  ASSERT_TRUE(app.WaitForBlocks(1));
  std::vector<std::unique_ptr<ProcessCall>> waiting;
  for (std::size_t i = 0; i < AbciService::kMaxWaiting; ++i) {
    waiting.push_back(std::make_unique<ProcessCall>());
    waiting.back()->Begin(service, &AbciService::ProcessProposal);
  }
  CommitCall late;
  EXPECT_THAT(late.Begin(service, &AbciService::Commit).Wait(),
              StatusIs(absl::StatusCode::kResourceExhausted));
  app.Open();
  for (const auto& call : waiting) EXPECT_THAT(call->Wait(), IsOk());
}

TEST(AbciServiceTest, AnswersWhatWaitsBeforeItEnds) {
  SlowApplication app;
  CommitCall commit;
  FinalizeCall block = BlockOf("1");
  {
    AbciService service(app);
    block.Begin(service, &AbciService::FinalizeBlock);
    commit.Begin(service, &AbciService::Commit);
    app.Open();
  }
  EXPECT_THAT(block.Wait(), IsOk());
  EXPECT_THAT(commit.Wait(), IsOk());
}

TEST(AbciServiceTest, ErrorsOfTheApplicationArriveAsTheyAre) {
  class Refusing : public Application {
    absl::StatusOr<abci::ResponseCommit> Commit(
        const abci::RequestCommit&) override {
      return absl::DataLossError("the disk is full");
    }
  } app;
  AbciService service(app);
  FinalizeCall block = Block(0, {});
  ASSERT_THAT(block.Begin(service, &AbciService::FinalizeBlock).Wait(), IsOk());
  CommitCall call;
  EXPECT_THAT(call.Begin(service, &AbciService::Commit).Wait(),
              StatusIs(absl::StatusCode::kDataLoss, "the disk is full"));
}

TEST(AbciServiceTest, CallThatIsNotTheNextDoesNotReachTheApplication) {
  SlowApplication app;
  AbciService service(app);
  FinalizeCall block = Block(1, {"a"});
  EXPECT_THAT(
      block.Begin(service, &AbciService::FinalizeBlock).Wait(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("InitChain")));
  EXPECT_EQ(app.txs().size(), 0u);
}

// Answers what no node can use.
class WrongApplication : public Application {
 public:
  absl::StatusOr<abci::ResponsePrepareProposal> PrepareProposal(
      const abci::RequestPrepareProposal&) override {
    abci::ResponsePrepareProposal proposal;
    proposal.add_txs("abc");
    return proposal;
  }
  absl::StatusOr<abci::ResponseProcessProposal> ProcessProposal(
      const abci::RequestProcessProposal&) override {
    return abci::ResponseProcessProposal();
  }
  absl::StatusOr<abci::ResponseVerifyVoteExtension> VerifyVoteExtension(
      const abci::RequestVerifyVoteExtension&) override {
    return abci::ResponseVerifyVoteExtension();
  }
  absl::StatusOr<abci::ResponseFinalizeBlock> FinalizeBlock(
      const abci::RequestFinalizeBlock&) override {
    return abci::ResponseFinalizeBlock();
  }
};

TEST(AbciServiceTest, AnswersThatNoNodeCanUseBecomeErrors) {
  WrongApplication app;
  AbciService service(app);
  constexpr auto kInternal = absl::StatusCode::kInternal;

  FinalizeCall block = BlockOf("a=1");
  EXPECT_THAT(block.Begin(service, &AbciService::FinalizeBlock).Wait(),
              StatusIs(kInternal, HasSubstr("0 results to 1 transactions")));
  ProcessCall process;
  EXPECT_THAT(process.Begin(service, &AbciService::ProcessProposal).Wait(),
              StatusIs(kInternal, HasSubstr("UNKNOWN")));
  FakeCall<abci::RequestVerifyVoteExtension, abci::ResponseVerifyVoteExtension>
      verify;
  EXPECT_THAT(verify.Begin(service, &AbciService::VerifyVoteExtension).Wait(),
              StatusIs(kInternal, HasSubstr("UNKNOWN")));

  abci::RequestPrepareProposal room;
  room.set_max_tx_bytes(4);
  using PrepareCall =
      FakeCall<abci::RequestPrepareProposal, abci::ResponsePrepareProposal>;
  PrepareCall prepare(room);
  EXPECT_THAT(prepare.Begin(service, &AbciService::PrepareProposal).Wait(),
              StatusIs(kInternal, HasSubstr("5 bytes")));
  room.set_max_tx_bytes(5);
  PrepareCall fits(room);
  EXPECT_THAT(fits.Begin(service, &AbciService::PrepareProposal).Wait(),
              IsOk());
}

// The store behind the service, with clients on all sides at once: what a
// ThreadSanitizer build is for.
class BusyStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = KvStore::Open(temp_.File("data"));
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
    service_ = std::make_unique<AbciService>(*store_);
    FakeCall<abci::RequestInitChain, abci::ResponseInitChain> init;
    ASSERT_THAT(init.Begin(*service_, &AbciService::InitChain).Wait(), IsOk());
  }

  // The value of "h" is the height in every block, so a reader can tell whether
  // it sees one state.
  void CommitBlocks(int count) {
    for (int height = 1; height <= count; ++height) {
      FinalizeCall block = Block(height, {absl::StrCat("h=", height), "k=v"});
      ASSERT_THAT(block.Begin(*service_, &AbciService::FinalizeBlock).Wait(),
                  IsOk());
      CommitCall commit;
      ASSERT_THAT(commit.Begin(*service_, &AbciService::Commit).Wait(), IsOk());
      committed_.store(height);
    }
  }

  void QueryUntil(const std::atomic<bool>& done) {
    abci::RequestQuery request;
    request.set_data("h");
    std::int64_t last = 0;
    while (!done.load()) {
      const std::int64_t at_least = committed_.load();
      QueryCall call(request);
      const auto answer = service_->Query(call, call.request());
      ASSERT_THAT(answer, IsOk());
      EXPECT_GE(answer->height(), std::max(last, at_least));
      if (answer->height() > 0) {
        EXPECT_EQ(answer->value(), absl::StrCat(answer->height()));
      }
      last = answer->height();
    }
  }

  void InfoUntil(const std::atomic<bool>& done) {
    while (!done.load()) {
      InfoCall call;
      const auto info = service_->Info(call, call.request());
      ASSERT_THAT(info, IsOk());
      EXPECT_EQ(info->data(),
                absl::StrCat("{\"size\":", 2 * info->last_block_height(), "}"));
    }
  }

  void CheckTxUntil(const std::atomic<bool>& done) {
    abci::RequestCheckTx request;
    request.set_tx("a=1");
    while (!done.load()) {
      CheckTxCall call(request);
      ASSERT_THAT(service_->CheckTx(call, call.request()), IsOk());
    }
  }

  const rpc::testing::TempDir temp_;
  std::unique_ptr<KvStore> store_;
  std::unique_ptr<AbciService> service_;
  std::atomic<std::int64_t> committed_{0};
};

TEST_F(BusyStoreTest, ReadersSeeOneCommittedStateWhileBlocksCommit) {
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  readers.emplace_back([&] { QueryUntil(done); });
  readers.emplace_back([&] { QueryUntil(done); });
  readers.emplace_back([&] { InfoUntil(done); });
  readers.emplace_back([&] { CheckTxUntil(done); });
  CommitBlocks(200);
  done.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(committed_.load(), 200);
}

}  // namespace
}  // namespace tandem::app

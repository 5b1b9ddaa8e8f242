// The engine and its service, called as clients call them, around an
// application that comes, goes and misbehaves.
#include "node/node.h"

#include <unistd.h>

#include <functional>
#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "node/node_service.h"
#include "node/subscriptions.h"
#include "rpc/base/file.h"
#include "rpc/base/sha256.h"
#include "rpc/client/in_process.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/node/app_session.h"
#include "tests/node/fake_app.h"
#include "tests/node/golden.h"
#include "tests/support/wire.h"

namespace tandem::node {
namespace {

using rpc::testing::IsOk;
using rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace abci = tendermint::abci;

constexpr absl::Duration kGenerous = absl::Seconds(20);

class NodeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = dir_.File("key.json");
    ASSERT_THAT(rpc::WriteFile(path, kKeyFileOne, 0600), IsOk());
    key_ = ValidatorKey::Load(path);
    genesis_ = *ParseGenesis(kGenesisFile);
    genesis_.initial_height = 1;
  }

  void TearDown() override { Stop(); }

  // Starts the node, and waits until it makes blocks.
  void Start() {
    Launch();
    Await(v1::AppStatus::RUNNING, 1);
  }

  void Launch() {
    store_ = *BlockStore::Open(dir_.File("blocks"));
    subscriptions_ = std::make_unique<Subscriptions>(
        *store_, store_->LoadState()->height(), genesis_.initial_height);
    auto node = Node::Create(
        {.dial = [this](absl::Duration) { return Dial(); },
         .app_address = "unix:/app.sock",
         .empty_blocks = empty_blocks_,
         .on_committed =
             [this](std::shared_ptr<const v1::CommittedBlock> block) {
               subscriptions_->Publish(std::move(block));
             },
         .on_fatal =
             [this](const absl::Status& why) {
               rpc::MutexLock lock(mu_);
               fatal_ = why;
               mu_.NotifyAll();
             }},
        *store_, genesis_, *key_);
    ASSERT_THAT(node, IsOk());
    node_ = *std::move(node);
    node_->Begin();
    service_ = std::make_unique<NodeService>(*node_, *store_, *subscriptions_,
                                             genesis_, *key_, "instance");
    transport_ = std::make_unique<rpc::InProcessTransport>(
        std::vector<rpc::Served>{Serve(*service_)},
        rpc::InProcessTransport::Options());
    client_ = std::make_unique<v1::NodeClient>(*transport_);
  }

  void Stop() {
    if (node_ == nullptr) return;
    node_->Stop(kGenerous);
    subscriptions_->Stop();
    client_.reset();
    transport_.reset();
    service_.reset();
    {
      rpc::MutexLock lock(mu_);
      session_ = nullptr;
    }
    node_.reset();
    subscriptions_.reset();
    store_.reset();
  }

  absl::StatusOr<std::unique_ptr<rpc::Session>> Dial() {
    if (on_dial_) on_dial_();
    {
      rpc::MutexLock lock(mu_);
      if (!app_is_there_) {
        return absl::UnavailableError("nobody listens on /app.sock");
      }
    }
    auto session = OpenAppSession(app_, 4);
    rpc::MutexLock lock(mu_);
    session_ = session.get();
    return session;
  }

  void StartApp() {
    rpc::MutexLock lock(mu_);
    app_is_there_ = true;
  }

  // The application ends; what it has committed stays.
  void KillApp() {
    rpc::MutexLock lock(mu_);
    app_is_there_ = false;
    if (session_ != nullptr) session_->Close();
    app_.Restart();
  }

  v1::StatusReply Status() {
    const auto status = client_->Status({});
    EXPECT_THAT(status, IsOk());
    return status.value_or(v1::StatusReply());
  }

  // Waits until the application is in `state` and the chain at `height`.
  v1::StatusReply Await(v1::AppStatus::State state, std::int64_t height = 0) {
    const absl::Time limit = absl::Now() + kGenerous;
    v1::StatusReply status = Status();
    while (status.app().state() != state || status.height() < height) {
      if (absl::Now() > limit) {
        ADD_FAILURE() << "never so: " << status.DebugString();
        return status;
      }
      absl::SleepFor(absl::Milliseconds(2));
      status = Status();
    }
    return status;
  }

  // Waits until so many transactions, or more, are in the mempool.
  void AwaitPool(std::uint64_t transactions) {
    const absl::Time limit = absl::Now() + kGenerous;
    while (Status().mempool().transactions() < transactions) {
      ASSERT_LT(absl::Now(), limit) << "never handed in";
      absl::SleepFor(absl::Milliseconds(2));
    }
  }

  // Waits until the node says that its process should end; why.
  absl::Status AwaitFatal() {
    rpc::MutexLock lock(mu_);
    mu_.AwaitFor(kGenerous, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return !fatal_.ok();
    });
    return fatal_;
  }
  absl::Status Fatal() {
    rpc::MutexLock lock(mu_);
    return fatal_;
  }

  absl::StatusOr<v1::TxResult> Submit(const std::string& tx,
                                      v1::Wait wait = v1::COMMIT) {
    v1::SubmitRequest request;
    request.set_tx(tx);
    request.set_wait(wait);
    request.mutable_timeout()->set_seconds(timeout_seconds_);
    const auto reply = client_->Submit(request, {.timeout = absl::Seconds(60)});
    if (!reply.ok()) return reply.status();
    return reply->result();
  }

  absl::StatusOr<v1::CommittedBlock> GetBlock(std::int64_t height) {
    v1::GetBlockRequest request;
    request.set_height(height);
    return client_->GetBlock(request);
  }

  absl::StatusOr<v1::GetTransactionReply> Find(const std::string& tx) {
    v1::GetTransactionRequest request;
    request.set_hash(rpc::Sha256(tx));
    return client_->GetTransaction(request);
  }

  rpc::testing::TempDir dir_;
  FakeApp app_;
  absl::StatusOr<ValidatorKey> key_ = absl::UnknownError("not loaded");
  Genesis genesis_;
  bool empty_blocks_ = false;
  int timeout_seconds_ = 20;
  std::function<void()> on_dial_;

  rpc::Mutex mu_;
  absl::Status fatal_ ABSL_GUARDED_BY(mu_);  // why the process would end
  bool app_is_there_ ABSL_GUARDED_BY(mu_) = true;
  rpc::Session* session_ ABSL_GUARDED_BY(mu_) = nullptr;

  std::unique_ptr<BlockStore> store_;
  std::unique_ptr<Subscriptions> subscriptions_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<NodeService> service_;
  std::unique_ptr<rpc::InProcessTransport> transport_;
  std::unique_ptr<v1::NodeClient> client_;
};

TEST_F(NodeTest, AChainsFirstBlockIsMadeAtOnceAndNoOtherEmptyOne) {
  Start();
  ASSERT_THAT(Submit("a"), IsOk());
  EXPECT_EQ(Status().height(), 2);
}

TEST_F(NodeTest, EmptyBlocksAreMadeWhereAskedFor) {
  empty_blocks_ = true;
  Start();
  Await(v1::AppStatus::RUNNING, 3);
}

TEST_F(NodeTest, ACommittedTransactionIsInItsBlock) {
  Start();
  const auto result = Submit("a");
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->hash(), rpc::Sha256("a"));
  EXPECT_EQ(result->height(), 2);
  EXPECT_EQ(result->data(), "a");
  const auto block = GetBlock(2);
  ASSERT_THAT(block, IsOk());
  EXPECT_THAT(block->block().txs(), ElementsAre("a"));
  EXPECT_EQ(block->results(0).SerializeAsString(), result->SerializeAsString());
}

TEST_F(NodeTest, ACheckedTransactionIsToldBeforeItsCommit) {
  Start();
  const auto result = Submit("a", v1::CHECK);
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->height(), 0);
  EXPECT_EQ(result->gas_wanted(), 1);
}

TEST_F(NodeTest, ARefusalOfTheApplicationIsAnAnswer) {
  app_.hooks.check_tx = [](const abci::RequestCheckTx&,
                           abci::ResponseCheckTx& answer) {
    answer.set_code(7);
    answer.set_log("\xff no text");
    answer.set_codespace("here");
  };
  Start();
  const auto result = Submit("a");
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->code(), 7u);
  EXPECT_EQ(result->log(), "\xff no text");
  EXPECT_EQ(result->codespace(), "here");
  EXPECT_EQ(result->height(), 0);
}

TEST_F(NodeTest, ABatchIsAnsweredInOrderOneForEach) {
  Start();
  v1::SubmitBatchRequest request;
  for (const char* tx : {"a", "", "b", "a"}) request.add_txs(tx);
  request.set_wait(v1::COMMIT);
  const auto reply = client_->SubmitBatch(request);
  ASSERT_THAT(reply, IsOk());
  ASSERT_EQ(reply->results_size(), 4);
  EXPECT_EQ(reply->results(0).status(), 0);
  EXPECT_EQ(reply->results(0).result().height(), 2);
  EXPECT_EQ(reply->results(1).status(), 3);  // INVALID_ARGUMENT
  EXPECT_THAT(reply->results(1).message(), HasSubstr("empty"));
  EXPECT_EQ(reply->results(2).status(), 0);
  EXPECT_EQ(reply->results(3).status(), 6);  // ALREADY_EXISTS
  EXPECT_EQ(reply->results(3).result().hash(), rpc::Sha256("a"));
}

TEST_F(NodeTest, AnEmptyBatchIsAnsweredEmpty) {
  Start();
  const auto reply = client_->SubmitBatch({});
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->results_size(), 0);
}

TEST_F(NodeTest, ABatchOfTooManyIsRefusedAsAWhole) {
  Start();
  v1::SubmitBatchRequest request;
  for (int i = 0; i < 65'536; ++i) request.add_txs();
  EXPECT_THAT(client_->SubmitBatch(request, {.timeout = kGenerous}), IsOk());
  request.add_txs();
  EXPECT_THAT(client_->SubmitBatch(request, {.timeout = kGenerous}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("65537 transactions, at most 65536")));
}

TEST_F(NodeTest, ErrorsOfSubmitHaveTheirCodes) {
  Start();
  EXPECT_THAT(Submit(""), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Submit(std::string(2 << 20, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_THAT(Submit("a"), IsOk());
  EXPECT_THAT(Submit("a"), StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(NodeTest, WhenTimeIsUpTheClientIsTold) {
  Start();
  // The application takes the transaction, and hangs over its block.
  std::promise<void> goes_on;
  app_.hooks.prepare = [may_go_on = goes_on.get_future().share()](
                           abci::ResponsePrepareProposal&) {
    may_go_on.wait();
  };
  timeout_seconds_ = 1;
  EXPECT_THAT(Submit("a"),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("neither committed nor refused")));
  goes_on.set_value();
}

TEST_F(NodeTest, QueriesGoToTheApplication) {
  Start();
  v1::QueryRequest request;
  request.set_path("/path");
  request.set_data("key");
  const auto reply = client_->Query(request);
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->key(), "key");
  EXPECT_EQ(reply->value(), "/path?key");
  EXPECT_EQ(reply->height(), 1);
  EXPECT_EQ(reply->proof_ops(0).type(), "p");
}

TEST_F(NodeTest, StatusSaysAllThatTheNodeKnows) {
  Start();
  const v1::StatusReply status = Await(v1::AppStatus::RUNNING, 1);
  EXPECT_EQ(status.chain_id(), "golden");
  EXPECT_EQ(status.instance_id(), "instance");
  EXPECT_EQ(status.base_height(), 1);
  EXPECT_EQ(status.initial_height(), 1);
  EXPECT_EQ(status.app_hash(), app_.app_hash());
  EXPECT_EQ(status.block_hash(), GetBlock(1)->hash());
  EXPECT_EQ(ToHex(status.validator_address()), kAddressOne);
  EXPECT_EQ(ToHex(status.validator_public_key()), kKeyOne);
  EXPECT_EQ(status.app().address(), "unix:/app.sock");
  EXPECT_EQ(status.app().data(), "fake");
  EXPECT_EQ(status.app().pid(), test::WireOr("").empty() ? 0 : ::getpid());
  EXPECT_EQ(status.app().app_version(), 7u);
  if (test::WireOr("").empty()) {  // Where nothing but the test says Hello.
    EXPECT_EQ(status.app().instance_id(), "fake-instance");
    EXPECT_EQ(status.app().framework_version(), "9.9.9");
  }
  EXPECT_GT(status.mempool().max_transactions(), 0u);
}

TEST_F(NodeTest, BlocksThatAreNotThereAreNamed) {
  Start();
  EXPECT_THAT(GetBlock(2), StatusIs(absl::StatusCode::kOutOfRange,
                                    HasSubstr("the last is 1")));
  EXPECT_THAT(GetBlock(-1), StatusIs(absl::StatusCode::kInvalidArgument));
  const auto latest = GetBlock(0);
  ASSERT_THAT(latest, IsOk());
  EXPECT_EQ(latest->block().header().height(), 1);
}

TEST_F(NodeTest, ForgottenBlocksAreNotFound) {
  app_.hooks.commit = [](abci::ResponseCommit& answer) {
    answer.set_retain_height(2);
  };
  Start();
  ASSERT_THAT(Submit("a"), IsOk());
  EXPECT_THAT(GetBlock(1), StatusIs(absl::StatusCode::kNotFound,
                                    HasSubstr("the oldest it keeps is 2")));
  EXPECT_THAT(GetBlock(2), IsOk());
}

TEST_F(NodeTest, AnAbsentApplicationIsWaitedForAndReadsAreServed) {
  Start();
  ASSERT_THAT(Submit("a"), IsOk());
  KillApp();
  const v1::StatusReply status = Await(v1::AppStatus::AWAY);
  EXPECT_EQ(status.height(), 2);
  EXPECT_THAT(GetBlock(2), IsOk());
  EXPECT_THAT(Submit("b"), StatusIs(absl::StatusCode::kUnavailable,
                                    HasSubstr("the application is away")));
  EXPECT_THAT(client_->Query({}), StatusIs(absl::StatusCode::kUnavailable));
  StartApp();
  Await(v1::AppStatus::RUNNING);
  EXPECT_THAT(Submit("b"), IsOk());
}

TEST_F(NodeTest, AnApplicationThatIsNotThereAtFirstIsWaitedFor) {
  KillApp();
  Launch();
  v1::StatusReply status = Await(v1::AppStatus::AWAY);
  EXPECT_EQ(status.height(), 0);
  EXPECT_THAT(GetBlock(0), StatusIs(absl::StatusCode::kNotFound));
  StartApp();
  Await(v1::AppStatus::RUNNING, 1);
}

TEST_F(NodeTest, WhatTheApplicationHasNotAnsweredIsInTheStatus) {
  Start();
  std::promise<void> release;
  app_.hooks.commit = [released = release.get_future().share()](
                          abci::ResponseCommit&) { released.wait(); };
  std::thread client([&] { EXPECT_THAT(Submit("a"), IsOk()); });
  v1::StatusReply status = Status();
  const absl::Time limit = absl::Now() + kGenerous;
  while ((status.app().calls_size() == 0 ||
          status.app().calls(0).method() != "Commit") &&
         absl::Now() < limit) {
    status = Status();
  }
  release.set_value();
  client.join();
  ASSERT_EQ(status.app().calls_size(), 1) << status.DebugString();
  EXPECT_EQ(status.app().calls(0).method(), "Commit");
  EXPECT_EQ(status.app().calls(0).count(), 1u);
  EXPECT_EQ(Status().app().calls_size(), 0);
}

TEST_F(NodeTest, TheReasonForWaitingIsInTheStatus) {
  KillApp();
  Launch();
  const absl::Time limit = absl::Now() + kGenerous;
  while (Status().app().reason().find("nobody listens") == std::string::npos) {
    ASSERT_LT(absl::Now(), limit);
    absl::SleepFor(absl::Milliseconds(2));
  }
}

TEST_F(NodeTest, AnApplicationThatLostItsStateIsGivenTheChainAgain) {
  Start();
  ASSERT_THAT(Submit("a"), IsOk());
  KillApp();
  Await(v1::AppStatus::AWAY);
  app_.Wipe();
  StartApp();
  Await(v1::AppStatus::RUNNING);
  EXPECT_THAT(app_.txs(), ElementsAre("a"));
}

TEST_F(NodeTest, AnApplicationThatDiesInABlockLosesNothing) {
  Start();
  app_.FailAfter("FinalizeBlock", kLost);
  EXPECT_THAT(Submit("a"), IsOk());
  EXPECT_THAT(app_.txs(), ElementsAre("a"));
}

TEST_F(NodeTest, NonsenseStopsBlocksButNotReads) {
  Start();
  ASSERT_THAT(Submit("a"), IsOk());
  app_.hooks.finalize = [](abci::ResponseFinalizeBlock& answer) {
    answer.clear_tx_results();
  };
  EXPECT_THAT(Submit("b"), StatusIs(absl::StatusCode::kUnknown,
                                    HasSubstr("returned 0 results")));
  const v1::StatusReply status = Await(v1::AppStatus::STOPPED);
  EXPECT_THAT(status.app().reason(),
              HasSubstr("returned 0 results for 1 transactions"));
  EXPECT_EQ(status.height(), 2);
  EXPECT_THAT(GetBlock(2), IsOk());
  EXPECT_THAT(client_->Query({}), IsOk());
  EXPECT_THAT(Submit("c"), StatusIs(absl::StatusCode::kFailedPrecondition,
                                    HasSubstr("returned 0 results")));

  // Put right and restarted, it goes on without us being restarted.
  KillApp();
  Await(v1::AppStatus::AWAY);
  app_.hooks.finalize = nullptr;
  StartApp();
  Await(v1::AppStatus::RUNNING, 3);
  EXPECT_THAT(app_.txs(), ElementsAre("a", "b"));
}

// An application's code is no code of ours: its DATA_LOSS is not that of the
// node's store, its UNAVAILABLE not the end of the connection.
TEST_F(NodeTest, AnErrorOfTheApplicationOverALiveConnectionStopsBlocksAlone) {
  for (const absl::Status& error :
       {absl::DataLossError("bad disk"), absl::UnavailableError("bad disk"),
        absl::InternalError("bad disk")}) {
    for (const char* call : {"Info", "FinalizeBlock"}) {
      SCOPED_TRACE(absl::StrCat(call, ": ", error.ToString()));
      KillApp();
      app_.Wipe();
      app_.FailBefore(call, error);
      StartApp();
      Launch();
      const v1::StatusReply status = Await(v1::AppStatus::STOPPED);
      EXPECT_THAT(status.app().reason(),
                  AllOf(HasSubstr(absl::StrCat(call, " failed: bad disk")),
                        HasSubstr(absl::StatusCodeToString(error.code()))));
      EXPECT_THAT(Submit("a"), StatusIs(absl::StatusCode::kFailedPrecondition));
      // Restarted, it is driven again.
      KillApp();
      StartApp();
      Await(v1::AppStatus::RUNNING, 1);
      EXPECT_THAT(Fatal(), IsOk());
      Stop();
    }
  }
}

TEST_F(NodeTest, AStoreThatFailsIsFatalThoughTheConnectionEndsToo) {
  Start();
  store::ChainState state = *store_->LoadState();
  state.set_height(7);
  ASSERT_THAT(store_->SaveState(state, 1), IsOk());
  Stop();
  app_.hooks.info = [this, is_first = true](abci::ResponseInfo&) mutable {
    rpc::MutexLock lock(mu_);
    if (std::exchange(is_first, false)) session_->Close();
  };
  Launch();
  EXPECT_THAT(AwaitFatal(), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(NodeTest, AnApplicationOfAnotherChainEndsTheNode) {
  Start();
  ASSERT_THAT(Submit("a"), IsOk());
  KillApp();
  Await(v1::AppStatus::AWAY);
  app_.hooks.info = [](abci::ResponseInfo& info) {
    info.set_last_block_app_hash("other");
  };
  StartApp();
  EXPECT_THAT(AwaitFatal(), StatusIs(absl::StatusCode::kAborted,
                                     HasSubstr("not that of this chain")));
  // Until the process ends, it says so.
  const v1::StatusReply status = Await(v1::AppStatus::STOPPED);
  EXPECT_THAT(status.app().reason(), HasSubstr("not that of this chain"));
  EXPECT_THAT(Submit("b"), StatusIs(absl::StatusCode::kUnavailable,
                                    HasSubstr("not that of this chain")));
  EXPECT_THAT(client_->Query({}),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("not that of this chain")));
  EXPECT_THAT(GetBlock(2), IsOk());
}

TEST_F(NodeTest, WhatBecameOfATransactionIsAskedByItsHash) {
  Start();
  EXPECT_THAT(Find("a"), StatusIs(absl::StatusCode::kNotFound,
                                  HasSubstr("none of the blocks 1 to 1")));
  const auto committed = Submit("a");
  ASSERT_THAT(committed, IsOk());
  const auto found = Find("a");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->state(), v1::GetTransactionReply::COMMITTED);
  EXPECT_EQ(found->result().DebugString(), committed->DebugString());

  v1::GetTransactionRequest no_hash;
  no_hash.set_hash("a");
  EXPECT_THAT(client_->GetTransaction(no_hash),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(NodeTest, WhatWaitsIsPendingUntilItIsCommitted) {
  Start();
  app_.FailBefore("PrepareProposal", absl::InternalError("stuck"));
  EXPECT_THAT(Submit("a"), StatusIs(absl::StatusCode::kUnknown));
  auto found = Find("a");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->state(), v1::GetTransactionReply::PENDING);
  EXPECT_EQ(found->result().hash(), rpc::Sha256("a"));
  KillApp();
  StartApp();
  Await(v1::AppStatus::RUNNING, 2);
  EXPECT_EQ(Find("a")->state(), v1::GetTransactionReply::COMMITTED);
}

// The block is saved, the application away, and the node another one: it will
// be committed, and nobody but the store knows of it.
TEST_F(NodeTest, WhatIsInAnUnfinishedBlockIsPendingAfterARestartToo) {
  Start();
  timeout_seconds_ = 0;
  app_.FailBefore("FinalizeBlock", absl::InternalError("stuck"));
  EXPECT_FALSE(Submit("a").ok());
  Await(v1::AppStatus::STOPPED);
  KillApp();
  Stop();
  Launch();
  auto found = Find("a");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->state(), v1::GetTransactionReply::PENDING);
  StartApp();
  Await(v1::AppStatus::RUNNING, 2);
  found = Find("a");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->state(), v1::GetTransactionReply::COMMITTED);
}

TEST_F(NodeTest, WhoWaitsForACommitIsToldThatTheNodeEnds) {
  genesis_.params.mutable_block()->set_max_gas(1);  // one transaction a block
  Start();
  app_.FailAfter("FinalizeBlock", kLost);
  app_.hooks.finalize = [this](abci::ResponseFinalizeBlock&) {
    app_.hooks.info = [](abci::ResponseInfo& info) {
      info.set_last_block_height(9);
    };
  };
  v1::SubmitBatchRequest request;
  request.set_wait(v1::COMMIT);
  request.mutable_timeout()->set_seconds(20);
  request.add_txs("a");
  request.add_txs("b");
  const auto reply =
      client_->SubmitBatch(request, {.timeout = absl::Seconds(60)});
  ASSERT_THAT(reply, IsOk());
  // The block that was begun may be committed yet.
  EXPECT_EQ(reply->results(0).status(),
            static_cast<int>(absl::StatusCode::kUnknown));
  EXPECT_THAT(reply->results(0).message(), HasSubstr("ahead of the node"));
  EXPECT_EQ(reply->results(1).status(),
            static_cast<int>(absl::StatusCode::kUnavailable));
}

TEST_F(NodeTest, ANodeThatRestartsGoesOn) {
  Start();
  ASSERT_THAT(Submit("a"), IsOk());
  Stop();
  Start();
  ASSERT_THAT(Submit("b"), IsOk());
  EXPECT_THAT(app_.txs(), ElementsAre("a", "b"));
}

TEST_F(NodeTest, ASubscriberGetsEveryBlockOnce) {
  Start();
  ASSERT_THAT(Submit("tx2"), IsOk());
  v1::SubscribeRequest request;
  request.set_from_height(1);
  auto stream = client_->Subscribe(request);
  for (int height = 3; height <= 10; ++height) {
    ASSERT_THAT(Submit(absl::StrCat("tx", height)), IsOk());
  }
  v1::CommittedBlock block;
  for (int height = 1; height <= 10; ++height) {
    ASSERT_TRUE(stream.Read(&block)) << stream.status();
    EXPECT_EQ(block.block().header().height(), height);
    EXPECT_EQ(block.results_size(), height == 1 ? 0 : 1);
  }
}

TEST_F(NodeTest, ASubscriberFromNowOnGetsTheNextBlock) {
  Start();
  ASSERT_THAT(Submit("a"), IsOk());
  auto stream = client_->Subscribe({});
  ASSERT_THAT(Submit("b"), IsOk());
  v1::CommittedBlock block;
  ASSERT_TRUE(stream.Read(&block));
  EXPECT_THAT(block.block().txs(), ElementsAre("b"));
}

TEST_F(NodeTest, ASubscriberBeforeAHighFirstBlockGetsIt) {
  genesis_.initial_height = 50;
  KillApp();
  Launch();
  auto stream = client_->Subscribe({});
  StartApp();
  v1::CommittedBlock block;
  ASSERT_TRUE(stream.Read(&block)) << stream.status();
  EXPECT_EQ(block.block().header().height(), 50);
}

TEST_F(NodeTest, ASubscriberOfTheFutureWaits) {
  Start();
  v1::SubscribeRequest request;
  request.set_from_height(3);
  auto stream = client_->Subscribe(request);
  ASSERT_THAT(Submit("a"), IsOk());
  ASSERT_THAT(Submit("b"), IsOk());
  v1::CommittedBlock block;
  ASSERT_TRUE(stream.Read(&block));
  EXPECT_EQ(block.block().header().height(), 3);
}

TEST_F(NodeTest, ASubscriberOfForgottenBlocksIsTold) {
  app_.hooks.commit = [](abci::ResponseCommit& answer) {
    answer.set_retain_height(2);
  };
  Start();
  ASSERT_THAT(Submit("a"), IsOk());
  v1::SubscribeRequest request;
  request.set_from_height(1);
  auto stream = client_->Subscribe(request);
  v1::CommittedBlock block;
  EXPECT_FALSE(stream.Read(&block));
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(NodeTest, ASlowSubscriberIsServedFromTheStore) {
  Start();
  v1::SubscribeRequest request;
  request.set_from_height(1);
  auto slow = client_->Subscribe(request);
  // Far more than a stream buffers.
  const std::string filler(100'000, 'x');
  constexpr int kLast = 60;
  for (int height = 2; height <= kLast; ++height) {
    ASSERT_THAT(Submit(absl::StrCat(height, filler)), IsOk());
  }
  v1::CommittedBlock block;
  for (int height = 1; height <= kLast; ++height) {
    ASSERT_TRUE(slow.Read(&block)) << slow.status();
    EXPECT_EQ(block.block().header().height(), height);
  }
}

TEST_F(NodeTest, SubscribersAreToldThatTheNodeStops) {
  Start();
  auto stream = client_->Subscribe({});
  subscriptions_->Stop();
  v1::CommittedBlock block;
  EXPECT_FALSE(stream.Read(&block));
  EXPECT_THAT(stream.status(), StatusIs(absl::StatusCode::kUnavailable,
                                        HasSubstr("the node stops")));
}

TEST_F(NodeTest, StoppingWhileItConnectsLeavesNoCallInFlight) {
  std::promise<void> dials;
  std::promise<void> stops;
  on_dial_ = [&] {
    dials.set_value();
    stops.get_future().wait();
  };
  bool is_cut = true;
  app_.hooks.info = [&](abci::ResponseInfo&) {
    rpc::Session* session = nullptr;
    {
      rpc::MutexLock lock(mu_);
      session = session_;
    }
    // Less than the node waits for Info, which ends the connection too.
    is_cut = session->WaitOver(kInfoTimeout / 2);
  };
  Launch();
  dials.get_future().wait();
  std::thread stopper([this] { node_->Stop(absl::ZeroDuration()); });
  // No harm if Stop() comes later: then it finds the connection.
  absl::SleepFor(absl::Milliseconds(100));
  stops.set_value();
  stopper.join();
  EXPECT_TRUE(is_cut);
}

TEST_F(NodeTest, ManyMayStopIt) {
  Start();
  std::vector<std::thread> stoppers;
  for (int i = 0; i < 8; ++i) {
    stoppers.emplace_back([this] { node_->Stop(kGenerous); });
  }
  for (std::thread& stopper : stoppers) stopper.join();
}

TEST_F(NodeTest, WhoWaitsForACommitIsToldThatTheApplicationIsAtFault) {
  Start();
  app_.FailBefore("PrepareProposal", absl::InternalError("stuck"));
  EXPECT_THAT(Submit("a"),
              StatusIs(absl::StatusCode::kUnknown,
                       HasSubstr("PrepareProposal failed: stuck")));
  Await(v1::AppStatus::STOPPED);
  KillApp();
  StartApp();
  Await(v1::AppStatus::RUNNING, 2);
  EXPECT_THAT(app_.txs(), ElementsAre("a"));
}

TEST_F(NodeTest, WhatWasHandedInBeforeTheStopIsCommitted) {
  Start();
  std::promise<void> goes_on;
  std::shared_future<void> may_go_on = goes_on.get_future();
  app_.hooks.finalize = [&](abci::ResponseFinalizeBlock&) { may_go_on.wait(); };
  absl::StatusOr<v1::TxResult> in_block;
  std::thread client([&] { in_block = Submit("a"); });
  AwaitPool(1);
  absl::StatusOr<v1::TxResult> waiting;
  std::thread other_client([&] { waiting = Submit("b"); });
  AwaitPool(2);

  std::thread stopper([this] { node_->Stop(kGenerous); });
  const absl::Time limit = absl::Now() + kGenerous;
  timeout_seconds_ = 1;
  absl::StatusOr<v1::TxResult> late = absl::UnknownError("not handed in");
  for (int i = 0; !absl::IsUnavailable(late.status()); ++i) {
    ASSERT_LT(absl::Now(), limit) << late.status();
    late = Submit(absl::StrCat("late", i));
  }
  EXPECT_THAT(late.status().message(), HasSubstr("the node stops"));
  goes_on.set_value();
  stopper.join();
  client.join();
  other_client.join();
  EXPECT_THAT(in_block, IsOk());
  EXPECT_THAT(waiting, IsOk());
}

TEST_F(NodeTest, WhoWaitsForACommitIsToldThatTheNodeStops) {
  genesis_.params.mutable_block()->set_max_gas(1);  // one transaction a block
  Start();
  app_.hooks.finalize = [&](abci::ResponseFinalizeBlock&) {
    rpc::Session* session = nullptr;
    {
      rpc::MutexLock lock(mu_);
      session = session_;
    }
    session->WaitOver(kGenerous);
  };
  v1::SubmitBatchRequest request;
  request.set_wait(v1::COMMIT);
  request.mutable_timeout()->set_seconds(20);
  request.add_txs("a");
  request.add_txs("b");
  absl::StatusOr<v1::SubmitBatchReply> reply;
  std::thread client([&] {
    reply = client_->SubmitBatch(request, {.timeout = absl::Seconds(60)});
  });
  const absl::Time limit = absl::Now() + kGenerous;
  while (*store_->LastHeight() < 2 && absl::Now() < limit) {
    absl::SleepFor(absl::Milliseconds(2));
  }
  node_->Stop(absl::ZeroDuration());
  client.join();
  ASSERT_THAT(reply, IsOk());
  // The block that the stop cut off may be committed yet.
  EXPECT_EQ(reply->results(0).status(),
            static_cast<int>(absl::StatusCode::kUnknown));
  EXPECT_THAT(reply->results(0).message(),
              HasSubstr("whether it is committed"));
  EXPECT_EQ(reply->results(1).status(),
            static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_THAT(reply->results(1).message(), HasSubstr("the node stops"));
}

}  // namespace
}  // namespace tandem::node

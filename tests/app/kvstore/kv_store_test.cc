#include "app/kvstore/kv_store.h"

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::app {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

std::string Key(char id) { return std::string(32, id); }

std::string SetPowerTx(char id, std::int64_t power) {
  return absl::StrCat("val=ed25519!", absl::Base64Escape(Key(id)), "!", power);
}

std::string HexOf(const std::string& bytes) {
  return absl::BytesToHexString(bytes);
}

// A store, and the calls of a node in short.
class KvStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }

  void Open() {
    store_.reset();
    auto store = KvStore::Open(temp_.File("data"));
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }

  absl::StatusOr<abci::ResponseInitChain> InitChain(
      std::int64_t initial_height = 1, std::string_view validators = "") {
    abci::RequestInitChain request;
    request.set_chain_id("test");
    request.set_initial_height(initial_height);
    request.mutable_consensus_params()->mutable_validator()->add_pub_key_types(
        "ed25519");
    for (const char id : validators) {
      abci::ValidatorUpdate& validator = *request.add_validators();
      validator.mutable_pub_key()->set_ed25519(Key(id));
      validator.set_power(10);
    }
    return store_->InitChain(request);
  }

  absl::StatusOr<abci::ResponseFinalizeBlock> Finalize(
      std::int64_t height, std::vector<std::string> txs) {
    abci::RequestFinalizeBlock request;
    request.set_height(height);
    for (const std::string& tx : txs) request.add_txs(tx);
    return store_->FinalizeBlock(request);
  }

  void Commit() { ASSERT_THAT(store_->Commit({}), IsOk()); }

  void CommitBlock(std::int64_t height, std::vector<std::string> txs) {
    ASSERT_THAT(Finalize(height, std::move(txs)), IsOk());
    Commit();
  }

  // "log value" of a key.
  std::string Query(const std::string& key) {
    abci::RequestQuery request;
    request.set_data(key);
    request.set_path("/store");
    const auto answer = store_->Query(request);
    if (!answer.ok()) return answer.status().ToString();
    return answer->log() + " " + answer->value();
  }

  // "size@height hash".
  std::string State() {
    const auto info = store_->Info({});
    if (!info.ok()) return info.status().ToString();
    return absl::StrCat(info->data(), "@", info->last_block_height(), " ",
                        HexOf(info->last_block_app_hash()));
  }

  std::int64_t PowerOf(char id) {
    abci::RequestQuery request;
    request.set_data(Key(id));
    request.set_path("/val");
    const auto answer = store_->Query(request);
    if (!answer.ok() || answer->value().empty()) return 0;
    abci::ValidatorUpdate validator;
    // A length of one byte comes first.
    EXPECT_EQ(answer->value()[0] + 1u, answer->value().size());
    EXPECT_TRUE(validator.ParseFromString(answer->value().substr(1)));
    EXPECT_EQ(validator.pub_key().ed25519(), Key(id));
    return validator.power();
  }

  KvStore& store() { return *store_; }

  const rpc::testing::TempDir temp_;
  std::unique_ptr<KvStore> store_;
};

TEST_F(KvStoreTest, MarksItsDirectory) {
  const auto marker = rpc::ReadFile(temp_.File("data/tandem-kvstore.json"));
  ASSERT_THAT(marker, IsOk());
  EXPECT_EQ(*marker,
            "{\n  \"program\": \"tandem-kvstore\",\n"
            "  \"store_version\": 1\n}\n");
}

TEST_F(KvStoreTest, EmptyStoreHasNothing) {
  EXPECT_EQ(State(), "{\"size\":0}@0 0000000000000000");
  EXPECT_EQ(Query("a"), "does not exist ");
  const auto info = store().Info({});
  EXPECT_EQ(info->version(), "2.0.0");
  EXPECT_EQ(info->app_version(), 1u);
}

TEST_F(KvStoreTest, CommitsABlock) {
  const auto begun = InitChain();
  ASSERT_THAT(begun, IsOk());
  EXPECT_EQ(HexOf(begun->app_hash()), "0000000000000000");
  const auto block = Finalize(1, {"a=1", "b=2"});
  ASSERT_THAT(block, IsOk());
  EXPECT_EQ(HexOf(block->app_hash()), "0400000000000000");
  ASSERT_EQ(block->tx_results_size(), 2);
  EXPECT_EQ(block->tx_results(0).code(), 0u);
  EXPECT_EQ(block->tx_results(0).events_size(), 2);
  Commit();
  EXPECT_EQ(State(), "{\"size\":2}@1 0400000000000000");
  EXPECT_EQ(Query("a"), "exists 1");
  EXPECT_EQ(Query("b"), "exists 2");
}

TEST_F(KvStoreTest, LastValueOfAKeyCounts) {
  ASSERT_THAT(InitChain(), IsOk());
  CommitBlock(1, {"a=1", "a=2"});
  EXPECT_EQ(Query("a"), "exists 2");
  CommitBlock(2, {"a=3"});
  EXPECT_EQ(Query("a"), "exists 3");
}

TEST_F(KvStoreTest, AppHashIsAZigzagVarint) {
  ASSERT_THAT(InitChain(), IsOk());
  const auto block = Finalize(1, std::vector<std::string>(64, "a=1"));
  ASSERT_THAT(block, IsOk());
  EXPECT_EQ(HexOf(block->app_hash()), "8001000000000000");
}

TEST_F(KvStoreTest, StagedBlockIsNotToBeSeen) {
  ASSERT_THAT(InitChain(), IsOk());
  CommitBlock(1, {"a=1"});
  ASSERT_THAT(Finalize(2, {"a=2", SetPowerTx('v', 5)}), IsOk());
  EXPECT_EQ(State(), "{\"size\":1}@1 0200000000000000");
  EXPECT_EQ(Query("a"), "exists 1");
  EXPECT_EQ(PowerOf('v'), 0);
}

TEST_F(KvStoreTest, NextFinalizeDropsTheStagedBlock) {
  ASSERT_THAT(InitChain(), IsOk());
  ASSERT_THAT(Finalize(1, {"a=1", SetPowerTx('v', 5)}), IsOk());
  CommitBlock(1, {"b=2"});
  EXPECT_EQ(Query("a"), "does not exist ");
  EXPECT_EQ(PowerOf('v'), 0);
  EXPECT_EQ(State(), "{\"size\":1}@1 0200000000000000");
}

TEST_F(KvStoreTest, RestartDropsTheStagedBlock) {
  ASSERT_THAT(InitChain(), IsOk());
  CommitBlock(1, {"a=1"});
  ASSERT_THAT(Finalize(2, {"a=2"}), IsOk());
  Open();
  EXPECT_EQ(State(), "{\"size\":1}@1 0200000000000000");
  EXPECT_THAT(store().Commit({}), StatusIs(kPrecondition));
  CommitBlock(2, {"a=3"});
  EXPECT_EQ(Query("a"), "exists 3");
}

TEST_F(KvStoreTest, RestartKeepsTheChain) {
  ASSERT_THAT(InitChain(1, "vw"), IsOk());
  CommitBlock(1, {"a=1", SetPowerTx('v', 0)});
  Open();
  EXPECT_EQ(State(), "{\"size\":2}@1 0400000000000000");
  EXPECT_EQ(Query("a"), "exists 1");
  EXPECT_EQ(PowerOf('v'), 0);
  EXPECT_EQ(PowerOf('w'), 10);
  CommitBlock(2, {SetPowerTx('w', 3)});
  EXPECT_EQ(PowerOf('w'), 3);
}

// --- What it refuses, and that nothing changes by it ---

TEST_F(KvStoreTest, CommitWithoutABlockIsRefused) {
  ASSERT_THAT(InitChain(), IsOk());
  EXPECT_THAT(store().Commit({}),
              StatusIs(kPrecondition, HasSubstr("no block is staged")));
  CommitBlock(1, {"a=1"});
  EXPECT_THAT(store().Commit({}), StatusIs(kPrecondition));
  EXPECT_EQ(State(), "{\"size\":1}@1 0200000000000000");
}

TEST_F(KvStoreTest, InitChainMayRepeatUntilABlockIsCommitted) {
  ASSERT_THAT(InitChain(1, "v"), IsOk());
  ASSERT_THAT(Finalize(1, {"a=1"}), IsOk());
  ASSERT_THAT(InitChain(5, "w"), IsOk());
  EXPECT_THAT(store().Commit({}), StatusIs(kPrecondition));
  EXPECT_EQ(PowerOf('v'), 0);
  EXPECT_EQ(PowerOf('w'), 10);
  CommitBlock(5, {"a=1"});
  EXPECT_THAT(InitChain(), StatusIs(kPrecondition, HasSubstr("1 transaction")));
}

TEST_F(KvStoreTest, GenesisThatCannotBeIsRefused) {
  abci::RequestInitChain request;
  // As `abci-cli test` sends it: this is where the original panics.
  request.add_validators()->mutable_pub_key()->set_ed25519(
      std::string(33, 'x'));
  request.mutable_validators(0)->set_power(10);
  EXPECT_THAT(store().InitChain(request),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("33 bytes, not 32")));
}

// --- Tools ---

TEST_F(KvStoreTest, ToolsWorkAtHeightZeroWithoutAChain) {
  for (int i = 1; i <= 3; ++i) {
    const auto block = Finalize(0, {"hello=world"});
    ASSERT_THAT(block, IsOk());
    EXPECT_EQ(HexOf(block->app_hash()),
              absl::StrCat("0", 2 * i, "00000000000000"));
    Commit();
  }
  EXPECT_EQ(State(), "{\"size\":3}@0 0600000000000000");
  EXPECT_EQ(Query("hello"), "exists world");
  Open();
  EXPECT_THAT(Finalize(0, {}), IsOk());
}

TEST_F(KvStoreTest, ChainDoesNotBeginOnWhatToolsWrote) {
  CommitBlock(0, {"a=1"});
  EXPECT_THAT(InitChain(), StatusIs(kPrecondition, HasSubstr("1 transaction")));
}

// --- Transactions ---

TEST_F(KvStoreTest, InvalidTransactionInABlockIsCountedAndNotStored) {
  ASSERT_THAT(InitChain(), IsOk());
  const auto block = Finalize(1, {"abc", "a==1", "", "b:2", "c=3"});
  ASSERT_THAT(block, IsOk());
  std::string codes;
  for (const auto& result : block->tx_results()) {
    absl::StrAppend(&codes, result.code());
    EXPECT_EQ(result.log().empty(), result.code() == 0);
  }
  EXPECT_EQ(codes, "22200");
  EXPECT_EQ(HexOf(block->app_hash()), "0a00000000000000");
  Commit();
  EXPECT_EQ(Query("abc"), "does not exist ");
  EXPECT_EQ(Query("a"), "does not exist ");
  EXPECT_EQ(Query("b"), "exists 2");
  EXPECT_EQ(Query("c"), "exists 3");
}

TEST_F(KvStoreTest, CheckTxTellsValidFromInvalid) {
  abci::RequestCheckTx request;
  request.set_tx("def=567");
  EXPECT_EQ(store().CheckTx(request)->code(), KvStore::kOk);
  EXPECT_EQ(store().CheckTx(request)->gas_wanted(), 1);
  request.set_type(abci::RECHECK);
  EXPECT_EQ(store().CheckTx(request)->code(), KvStore::kOk);
  request.set_tx("abc");
  EXPECT_EQ(store().CheckTx(request)->code(), KvStore::kInvalidFormat);
  EXPECT_EQ(store().CheckTx(request)->gas_wanted(), 0);
  EXPECT_THAT(store().CheckTx(request)->info(), HasSubstr("exactly one"));
  EXPECT_EQ(store().CheckTx(request)->log(), "");
  request.set_tx("val=whatever!AA==!1");
  EXPECT_EQ(store().CheckTx(request)->code(), KvStore::kOk);
}

TEST_F(KvStoreTest, ProposalHasValidTransactionsInCanonicalForm) {
  abci::RequestPrepareProposal request;
  request.set_max_tx_bytes(1000);
  for (const char* tx : {"a:1", "bad", "b=2", "a==b"}) request.add_txs(tx);
  const auto proposal = store().PrepareProposal(request);
  ASSERT_THAT(proposal, IsOk());
  EXPECT_THAT(proposal->txs(), ElementsAre("a=1", "b=2"));
}

TEST_F(KvStoreTest, ProposalKeepsWithinItsRoom) {
  abci::RequestPrepareProposal request;
  request.set_max_tx_bytes(11);
  for (const char* tx :
       {"much=too=bad", "longer=thanroom", "a=1", "b=2", "c=3"}) {
    request.add_txs(tx);
  }
  EXPECT_THAT(store().PrepareProposal(request)->txs(),
              ElementsAre("a=1", "b=2"));
}

TEST_F(KvStoreTest, AnswerToAProposedBlockFitsIntoAMessageOfTheEngine) {
  ASSERT_THAT(InitChain(), IsOk());
  abci::RequestPrepareProposal request;
  request.set_max_tx_bytes(21 << 20);
  for (int i = 0; i < 40000; ++i) request.add_txs(absl::StrCat("key", i, "=v"));
  const auto proposal = store().PrepareProposal(request);
  ASSERT_THAT(proposal, IsOk());
  EXPECT_GT(proposal->txs_size(), 10000);
  const auto block =
      Finalize(1, {proposal->txs().begin(), proposal->txs().end()});
  ASSERT_THAT(block, IsOk());
  EXPECT_LT(block->ByteSizeLong(), std::size_t{4 << 20});
}

TEST_F(KvStoreTest, ProcessRejectsBlocksWithInvalidTransactions) {
  abci::RequestProcessProposal request;
  EXPECT_EQ(store().ProcessProposal(request)->status(),
            abci::ResponseProcessProposal::ACCEPT);
  request.add_txs("a=1");
  EXPECT_EQ(store().ProcessProposal(request)->status(),
            abci::ResponseProcessProposal::ACCEPT);
  request.add_txs("a==1");
  EXPECT_EQ(store().ProcessProposal(request)->status(),
            abci::ResponseProcessProposal::REJECT);
}

// --- Validators ---

TEST_F(KvStoreTest, ValidatorTransactionsBecomeUpdates) {
  ASSERT_THAT(InitChain(1, "v"), IsOk());
  const auto block = Finalize(1, {SetPowerTx('w', 5), SetPowerTx('v', 7)});
  ASSERT_THAT(block, IsOk());
  ASSERT_EQ(block->validator_updates_size(), 2);
  EXPECT_EQ(block->validator_updates(0).pub_key().ed25519(), Key('v'));
  EXPECT_EQ(block->validator_updates(0).power(), 7);
  EXPECT_EQ(block->validator_updates(1).power(), 5);
  Commit();
  EXPECT_EQ(PowerOf('v'), 7);
  EXPECT_EQ(PowerOf('w'), 5);
}

TEST_F(KvStoreTest, UpdatesThatWouldStopTheEngineAreRefusedOneByOne) {
  ASSERT_THAT(InitChain(1, "v"), IsOk());
  const std::string secp = absl::StrCat(
      "val=secp256k1!", absl::Base64Escape(std::string(33, 's')), "!1");
  const auto block =
      Finalize(1, {SetPowerTx('x', 0), SetPowerTx('v', 0), secp,
                   "val=ed25519!AAAA!1", "val=rsa!AAAA!1", SetPowerTx('w', 1)});
  ASSERT_THAT(block, IsOk());
  std::string codes;
  for (const auto& result : block->tx_results()) {
    absl::StrAppend(&codes, result.code());
  }
  EXPECT_EQ(codes, "222220");
  EXPECT_EQ(block->validator_updates_size(), 1);
}

TEST_F(KvStoreTest, MembersThatVotedTwiceLosePower) {
  ASSERT_THAT(InitChain(1, std::string_view("\0v", 2)), IsOk());
  abci::RequestFinalizeBlock request;
  request.set_height(1);
  abci::Misbehavior& misbehavior = *request.add_misbehavior();
  misbehavior.set_type(abci::DUPLICATE_VOTE);
  misbehavior.mutable_validator()->set_address(
      absl::HexStringToBytes("66687aadf862bd776c8fc18b8e9f8e2008971485"));
  misbehavior.mutable_validator()->set_power(10);
  // Somebody who is no member any more.
  *request.add_misbehavior() = misbehavior;
  request.mutable_misbehavior(1)->mutable_validator()->set_address("gone");
  const auto block = store().FinalizeBlock(request);
  ASSERT_THAT(block, IsOk());
  ASSERT_EQ(block->validator_updates_size(), 1);
  EXPECT_EQ(block->validator_updates(0).power(), 9);
  Commit();
  EXPECT_EQ(PowerOf('\0'), 9);
}

// --- Queries ---

TEST_F(KvStoreTest, QueryTellsItsHeight) {
  ASSERT_THAT(InitChain(), IsOk());
  CommitBlock(1, {"a=1"});
  abci::RequestQuery request;
  request.set_data("a");
  request.set_prove(true);
  request.set_height(1);
  const auto answer = store().Query(request);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->ShortDebugString(),
            "log: \"exists\" index: -1 key: \"a\" value: \"1\" height: 1");
}

TEST_F(KvStoreTest, QueryOfAHeightThatIsNotKeptIsRefused) {
  ASSERT_THAT(InitChain(), IsOk());
  CommitBlock(1, {"a=1"});
  CommitBlock(2, {"a=2"});
  abci::RequestQuery request;
  request.set_data("a");
  request.set_height(3);
  EXPECT_THAT(store().Query(request), StatusIs(absl::StatusCode::kOutOfRange,
                                               HasSubstr("in the future")));
  request.set_height(1);
  EXPECT_THAT(store().Query(request),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("not kept")));
}

TEST_F(KvStoreTest, QueryOfAValidatorHasItsUpdate) {
  ASSERT_THAT(InitChain(1, "v"), IsOk());
  abci::RequestQuery request;
  request.set_path("/val");
  request.set_data(Key('v'));
  const auto answer = store().Query(request);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(HexOf(answer->value()), "260a220a20" + HexOf(Key('v')) + "100a");
  EXPECT_EQ(answer->log(), "");
  EXPECT_EQ(Query(Key('v')), "does not exist ");
}

// --- Whatever comes ---

TEST_F(KvStoreTest, AnswersGarbageWithoutHarm) {
  ASSERT_THAT(InitChain(1, "v"), IsOk());
  std::mt19937 random(7);
  constexpr std::string_view alphabet("=:!val+/0A\xff\n\0 -AAAA", 19);
  std::int64_t size = 0;
  for (int height = 1; height <= 50; ++height) {
    std::vector<std::string> txs;
    for (int i = 0; i < 40; ++i) {
      std::string tx = random() % 2 ? "val=" : "";
      for (int n = random() % 24; n > 0; --n) {
        tx += alphabet[random() % alphabet.size()];
      }
      abci::RequestCheckTx request;
      request.set_tx(tx);
      EXPECT_THAT(store().CheckTx(request), IsOk());
      txs.push_back(tx);
    }
    size += static_cast<std::int64_t>(txs.size());
    CommitBlock(height, txs);
  }
  EXPECT_THAT(State(), HasSubstr(absl::StrCat("{\"size\":", size, "}@50")));
  EXPECT_EQ(PowerOf('v'), 10);
}

TEST_F(KvStoreTest, EmptyRequestsAreAnswered) {
  EXPECT_THAT(store().Info({}), IsOk());
  EXPECT_THAT(store().Query({}), IsOk());
  EXPECT_EQ(store().CheckTx({})->code(), KvStore::kInvalidFormat);
  EXPECT_THAT(store().PrepareProposal({}), IsOk());
  EXPECT_THAT(store().ProcessProposal({}), IsOk());
  EXPECT_THAT(store().ExtendVote({}), IsOk());
  EXPECT_THAT(store().VerifyVoteExtension({}), IsOk());
  EXPECT_THAT(store().Commit({}), StatusIs(kPrecondition));
  EXPECT_THAT(store().InitChain({}), IsOk());
}

TEST_F(KvStoreTest, SecondStoreInADirectoryIsRefused) {
  EXPECT_THAT(KvStore::Open(temp_.File("data")),
              StatusIs(kPrecondition, HasSubstr("in use")));
}

}  // namespace
}  // namespace tandem::app

#include "node/block_store.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/sha256.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::node {
namespace {

using rpc::testing::IsOk;
using rpc::testing::IsOkAndHolds;
using rpc::testing::StatusIs;
using ::testing::HasSubstr;

class BlockStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }

  void Reopen() {
    store_.reset();
    auto store = BlockStore::Open(dir_.File("blocks"));
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }

  void Save(std::int64_t height, const std::string& tx) {
    v1::Block block;
    block.mutable_header()->set_height(height);
    block.add_txs(tx);
    ASSERT_THAT(store_->SaveBlock(block), IsOk());
    tendermint::abci::ResponseFinalizeBlock response;
    response.set_app_hash("after " + tx);
    ASSERT_THAT(store_->SaveResponse(height, response), IsOk());
  }

  rpc::testing::TempDir dir_;
  std::unique_ptr<BlockStore> store_;
};

TEST_F(BlockStoreTest, IsEmptyAtFirst) {
  EXPECT_THAT(store_->LastHeight(), IsOkAndHolds(0));
  const auto state = store_->LoadState();
  ASSERT_THAT(state, IsOk());
  EXPECT_EQ(state->chain_id(), "");
  EXPECT_THAT(store_->LoadBlock(1), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(store_->LoadResponse(1), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(BlockStoreTest, WhatIsSavedIsThereAfterReopening) {
  // Heights whose bytes do not sort like small numbers.
  for (const std::int64_t height : {255, 256, 65536}) {
    Save(height, std::to_string(height));
  }
  store::ChainState state;
  state.set_chain_id("c");
  ASSERT_THAT(store_->SaveState(state, 0), IsOk());
  Reopen();
  EXPECT_THAT(store_->LastHeight(), IsOkAndHolds(65536));
  const auto block = store_->LoadBlock(256);
  ASSERT_THAT(block, IsOk());
  EXPECT_EQ(block->txs(0), "256");
  const auto response = store_->LoadResponse(255);
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->app_hash(), "after 255");
  EXPECT_EQ(store_->LoadState()->chain_id(), "c");
}

TEST_F(BlockStoreTest, ForgetsBlocksBeforeTheBase) {
  for (std::int64_t height = 1; height <= 5; ++height) Save(height, "x");
  store::ChainState state;
  state.set_base_height(4);
  ASSERT_THAT(store_->SaveState(state, 1), IsOk());
  for (std::int64_t height = 1; height <= 3; ++height) {
    EXPECT_THAT(store_->LoadBlock(height),
                StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(store_->LoadResponse(height),
                StatusIs(absl::StatusCode::kNotFound));
  }
  EXPECT_THAT(store_->LoadBlock(4), IsOk());
  EXPECT_THAT(store_->LoadResponse(5), IsOk());
}

// A committed block of these transactions, and the state after it.
v1::CommittedBlock CommittedOf(std::int64_t height,
                               const std::vector<std::string>& txs) {
  v1::CommittedBlock committed;
  for (std::size_t i = 0; i < txs.size(); ++i) {
    v1::TxResult& result = *committed.add_results();
    result.set_hash(rpc::Sha256(txs[i]));
    result.set_height(height);
    result.set_index(static_cast<std::uint32_t>(i));
  }
  return committed;
}

class FindTest : public BlockStoreTest {
 protected:
  void Commit(std::int64_t height, const std::vector<std::string>& txs,
              std::int64_t base = 1) {
    v1::Block block;
    block.mutable_header()->set_height(height);
    for (const std::string& tx : txs) block.add_txs(tx);
    ASSERT_THAT(store_->SaveBlock(block), IsOk());
    store::ChainState state;
    state.set_height(height);
    state.set_base_height(base);
    ASSERT_THAT(
        store_->SaveCommitted(state, CommittedOf(height, txs), old_base_),
        IsOk());
    old_base_ = base;
  }

  // "height/index", or the status.
  std::string Find(const std::string& tx) {
    const auto place = store_->FindTransaction(rpc::Sha256(tx));
    if (!place.ok()) return absl::StatusCodeToString(place.status().code());
    return absl::StrCat(place->height, "/", place->index);
  }

  std::int64_t old_base_ = 1;
};

TEST_F(FindTest, TransactionsAreFoundByTheirHash) {
  Commit(1, {});
  Commit(2, {"a", "b"});
  Commit(300, {"c"});
  Reopen();
  EXPECT_EQ(Find("a"), "2/0");
  EXPECT_EQ(Find("b"), "2/1");
  EXPECT_EQ(Find("c"), "300/0");
  EXPECT_EQ(Find("d"), "NOT_FOUND");
  EXPECT_EQ(store_->LoadState()->height(), 300);
  EXPECT_THAT(store_->LastHeight(), IsOkAndHolds(300));
}

TEST_F(FindTest, OfSeveralTheLastIsFound) {
  Commit(1, {"a"});
  Commit(2, {"b", "a"});
  EXPECT_EQ(Find("a"), "2/1");
}

TEST_F(FindTest, WhatIsForgottenWithItsBlockIsNotFound) {
  Commit(1, {"a", "x"});
  Commit(2, {"b"});
  Commit(3, {"x"}, /*base=*/3);
  EXPECT_EQ(Find("a"), "NOT_FOUND");
  EXPECT_EQ(Find("b"), "NOT_FOUND");
  EXPECT_EQ(Find("x"), "3/0");
}

TEST_F(BlockStoreTest, ASecondOpenIsRefused) {
  EXPECT_THAT(BlockStore::Open(dir_.File("blocks")),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("another process")));
}

}  // namespace
}  // namespace tandem::node

#include "app/application.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"

namespace tandem::app {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::ElementsAre;

abci::RequestPrepareProposal Offer(std::int64_t max_tx_bytes,
                                   std::initializer_list<std::string> txs) {
  abci::RequestPrepareProposal request;
  request.set_max_tx_bytes(max_tx_bytes);
  for (const std::string& tx : txs) request.add_txs(tx);
  return request;
}

TEST(ApplicationTest, ProposalFillsTheBlockExactly) {
  Application app;
  const auto proposal = app.PrepareProposal(Offer(10, {"abc", "def", "g"}));
  ASSERT_THAT(proposal, IsOk());
  EXPECT_THAT(proposal->txs(), ElementsAre("abc", "def"));
}

TEST(ApplicationTest, ProposalStopsAtTheFirstThatDoesNotFit) {
  Application app;
  const auto proposal = app.PrepareProposal(Offer(9, {"abc", "def", "g"}));
  ASSERT_THAT(proposal, IsOk());
  EXPECT_THAT(proposal->txs(), ElementsAre("abc"));
}

TEST(ApplicationTest, TransactionThatFitsInNoBlockHoldsUpNobody) {
  Application app;
  const auto proposal = app.PrepareProposal(Offer(9, {"much too long", "def"}));
  ASSERT_THAT(proposal, IsOk());
  EXPECT_THAT(proposal->txs(), ElementsAre("def"));
}

TEST(ApplicationTest, ProposalStaysWithinWhatEnginesReceive) {
  Application app;
  const std::string tx(1 << 20, 'x');
  const auto proposal =
      app.PrepareProposal(Offer(100 << 20, {tx, tx, tx, tx, tx}));
  ASSERT_THAT(proposal, IsOk());
  EXPECT_LT(proposal->ByteSizeLong(), std::size_t{4 << 20});
  EXPECT_EQ(proposal->txs_size(), 3);
}

TEST(ApplicationTest, AcceptsWhatItHasNoOpinionOn) {
  Application app;
  EXPECT_EQ(app.ProcessProposal({})->status(),
            abci::ResponseProcessProposal::ACCEPT);
  EXPECT_EQ(app.VerifyVoteExtension({})->status(),
            abci::ResponseVerifyVoteExtension::ACCEPT);
  EXPECT_EQ(app.CheckTx({})->code(), 0u);
  EXPECT_EQ(app.Info({})->last_block_height(), 0);
}

TEST(ApplicationTest, AnswersEveryTransactionOfABlock) {
  Application app;
  abci::RequestFinalizeBlock request;
  request.add_txs("a");
  request.add_txs("b");
  EXPECT_EQ(app.FinalizeBlock(request)->tx_results_size(), 2);
}

TEST(ApplicationTest, SaysThatItHasNoQueriesAndNoPool) {
  Application app;
  EXPECT_THAT(app.Query({}), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(app.InsertTx({}), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(app.ReapTxs({}), StatusIs(absl::StatusCode::kUnimplemented));
}

TEST(ApplicationTest, GivesUpOnSnapshots) {
  Application app;
  EXPECT_EQ(app.ListSnapshots({})->snapshots_size(), 0);
  EXPECT_EQ(app.OfferSnapshot({})->result(),
            abci::ResponseOfferSnapshot::ABORT);
  EXPECT_EQ(app.ApplySnapshotChunk({})->result(),
            abci::ResponseApplySnapshotChunk::ABORT);
}

}  // namespace
}  // namespace tandem::app

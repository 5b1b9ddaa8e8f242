#include "app/call_order.h"

#include <cstdint>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"

namespace tandem::app {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

// Says what it is told to say.
class TellingApplication final : public Application {
 public:
  absl::StatusOr<abci::ResponseInfo> Info(const abci::RequestInfo&) override {
    ++asked;
    abci::ResponseInfo info;
    info.set_last_block_height(height);
    return info;
  }

  std::int64_t height = 0;
  int asked = 0;
};

class CallOrderTest : public ::testing::Test {
 protected:
  // Runs the call if it may, as an application that answers it well, or not.
  template <typename Q>
  absl::Status Run(const Q& request, bool well = true) {
    absl::Status may = order_.MayRun(request);
    if (may.ok()) order_.HasRun(request, well);
    return may;
  }
  template <typename Q>
  absl::Status RunOf(std::int64_t height, bool well = true) {
    Q request;
    request.set_height(height);
    return Run(request, well);
  }
  absl::Status InitChain(std::int64_t initial_height, bool well = true) {
    abci::RequestInitChain request;
    request.set_initial_height(initial_height);
    return Run(request, well);
  }
  absl::Status Finalize(std::int64_t height, bool well = true) {
    return RunOf<abci::RequestFinalizeBlock>(height, well);
  }
  absl::Status Commit(bool well = true) {
    return Run(abci::RequestCommit(), well);
  }
  void CommitBlock(std::int64_t height) {
    ASSERT_THAT(Finalize(height), IsOk());
    ASSERT_THAT(Commit(), IsOk());
  }

  TellingApplication app_;
  CallOrder order_{app_};
};

TEST_F(CallOrderTest, NothingComesBeforeInitChain) {
  EXPECT_THAT(Finalize(1),
              StatusIs(kPrecondition,
                       AllOf(HasSubstr("height 1"), HasSubstr("InitChain"))));
  EXPECT_THAT(RunOf<abci::RequestPrepareProposal>(1), StatusIs(kPrecondition));
  EXPECT_THAT(RunOf<abci::RequestProcessProposal>(1), StatusIs(kPrecondition));
  EXPECT_THAT(RunOf<abci::RequestExtendVote>(1), StatusIs(kPrecondition));
  EXPECT_THAT(Commit(), StatusIs(kPrecondition));
}

TEST_F(CallOrderTest, InitChainThatFailedBeginsNoChain) {
  EXPECT_THAT(InitChain(1, /*well=*/false), IsOk());
  EXPECT_THAT(Finalize(1), StatusIs(kPrecondition));
}

TEST_F(CallOrderTest, OnlyTheNextBlockIsTaken) {
  ASSERT_THAT(InitChain(1), IsOk());
  EXPECT_THAT(Finalize(2), StatusIs(kPrecondition));
  CommitBlock(1);
  for (const std::int64_t height : {-1, 0, 1, 3}) {
    const auto refused =
        StatusIs(kPrecondition, HasSubstr("height 1 is committed, so the next "
                                          "is 2"));
    EXPECT_THAT(Finalize(height), refused);
    EXPECT_THAT(RunOf<abci::RequestPrepareProposal>(height), refused);
    EXPECT_THAT(RunOf<abci::RequestProcessProposal>(height), refused);
    EXPECT_THAT(RunOf<abci::RequestExtendVote>(height), refused);
  }
  EXPECT_THAT(RunOf<abci::RequestPrepareProposal>(2), IsOk());
  EXPECT_THAT(RunOf<abci::RequestProcessProposal>(2), IsOk());
  EXPECT_THAT(RunOf<abci::RequestExtendVote>(2), IsOk());
  CommitBlock(2);
}

TEST_F(CallOrderTest, ChainBeginsAtItsInitialHeight) {
  EXPECT_THAT(InitChain(-1), StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_THAT(InitChain(100), IsOk());
  EXPECT_THAT(Finalize(1), StatusIs(kPrecondition));
  CommitBlock(100);
  CommitBlock(101);
}

TEST_F(CallOrderTest, ChainGoesOnFromWhatTheApplicationHas) {
  app_.height = 7;
  EXPECT_THAT(Finalize(7), StatusIs(kPrecondition));
  CommitBlock(8);
  EXPECT_THAT(InitChain(1),
              StatusIs(kPrecondition, HasSubstr("committed height 8")));
  EXPECT_EQ(app_.asked, 1);
}

TEST_F(CallOrderTest, InitChainMayRepeatUntilABlockIsCommitted) {
  ASSERT_THAT(InitChain(1), IsOk());
  ASSERT_THAT(Finalize(1), IsOk());
  ASSERT_THAT(InitChain(5), IsOk());
  EXPECT_THAT(Commit(), StatusIs(kPrecondition));
  CommitBlock(5);
  EXPECT_THAT(InitChain(5), StatusIs(kPrecondition));
}

TEST_F(CallOrderTest, CommitFollowsItsBlockAtOnce) {
  ASSERT_THAT(InitChain(1), IsOk());
  EXPECT_THAT(Commit(), StatusIs(kPrecondition, HasSubstr("FinalizeBlock")));
  CommitBlock(1);
  EXPECT_THAT(Commit(), StatusIs(kPrecondition));
  ASSERT_THAT(Finalize(2), IsOk());
  ASSERT_THAT(RunOf<abci::RequestProcessProposal>(2), IsOk());
  EXPECT_THAT(Commit(), StatusIs(kPrecondition));
}

TEST_F(CallOrderTest, BlockMayComeAgainUntilItIsCommitted) {
  ASSERT_THAT(InitChain(1), IsOk());
  ASSERT_THAT(Finalize(1), IsOk());
  CommitBlock(1);
}

TEST_F(CallOrderTest, RefusedCallLeavesTheStagedBlock) {
  ASSERT_THAT(InitChain(1), IsOk());
  ASSERT_THAT(Finalize(1), IsOk());
  ASSERT_THAT(Finalize(2), StatusIs(kPrecondition));
  EXPECT_THAT(Commit(), IsOk());
}

TEST_F(CallOrderTest, BlockThatFailedIsNotCommitted) {
  ASSERT_THAT(InitChain(1), IsOk());
  ASSERT_THAT(Finalize(1), IsOk());
  ASSERT_THAT(Finalize(1, /*well=*/false), IsOk());
  EXPECT_THAT(Commit(), StatusIs(kPrecondition));
}

TEST_F(CallOrderTest, AfterACommitThatFailedTheApplicationIsAsked) {
  app_.height = 7;
  ASSERT_THAT(Finalize(8), IsOk());
  ASSERT_THAT(Commit(/*well=*/false), IsOk());
  EXPECT_THAT(Finalize(9), StatusIs(kPrecondition));
  ASSERT_THAT(Finalize(8), IsOk());
  ASSERT_THAT(Commit(/*well=*/false), IsOk());
  app_.height = 8;  // It had committed all the same.
  EXPECT_THAT(Finalize(8), StatusIs(kPrecondition));
  EXPECT_THAT(Finalize(9), IsOk());
}

TEST_F(CallOrderTest, AfterASnapshotTheApplicationIsAsked) {
  ASSERT_THAT(InitChain(1), IsOk());
  ASSERT_THAT(Run(abci::RequestOfferSnapshot()), IsOk());
  ASSERT_THAT(Run(abci::RequestApplySnapshotChunk()), IsOk());
  app_.height = 50;
  CommitBlock(51);
}

TEST_F(CallOrderTest, VotesOfOthersMayBeLate) {
  app_.height = 7;
  EXPECT_THAT(RunOf<abci::RequestVerifyVoteExtension>(7), IsOk());
}

TEST_F(CallOrderTest, ToolsSendHeightZeroInAnyOrder) {
  CommitBlock(0);
  CommitBlock(0);
  EXPECT_THAT(RunOf<abci::RequestPrepareProposal>(0), IsOk());
  EXPECT_THAT(RunOf<abci::RequestProcessProposal>(0), IsOk());
  EXPECT_THAT(Finalize(1), StatusIs(kPrecondition));
}

TEST_F(CallOrderTest, ToolsDoNotWriteIntoAChain) {
  ASSERT_THAT(InitChain(1), IsOk());
  EXPECT_THAT(Finalize(0), StatusIs(kPrecondition));
}

TEST_F(CallOrderTest, HeightThatCannotBeIsAnError) {
  app_.height = -3;
  EXPECT_THAT(Finalize(1),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("-3")));
}

}  // namespace
}  // namespace tandem::app

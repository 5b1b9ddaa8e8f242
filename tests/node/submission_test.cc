#include "node/submission.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/sha256.h"

namespace tandem::node {
namespace {

using tendermint::abci::ResponseCheckTx;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::shared_ptr<Submission> MakeSubmission(Submission::Done done) {
  google::protobuf::RepeatedPtrField<std::string> txs;
  *txs.Add() = "a";
  return std::make_shared<Submission>(txs, v1::COMMIT, std::move(done));
}

class SubmissionTest : public ::testing::Test {
 protected:
  // Of the transactions "a" and "b".
  std::shared_ptr<Submission> Make(v1::Wait wait) {
    google::protobuf::RepeatedPtrField<std::string> txs;
    *txs.Add() = "a";
    *txs.Add() = "b";
    return std::make_shared<Submission>(
        txs, wait,
        [this](Submission::Results results) { answers_.push_back(results); });
  }

  static ResponseCheckTx Answer(int code) {
    ResponseCheckTx answer;
    answer.set_code(code);
    answer.set_gas_wanted(7);
    return answer;
  }

  static v1::TxResult Committed(std::int64_t height) {
    v1::TxResult result;
    result.set_height(height);
    return result;
  }

  std::vector<Submission::Results> answers_;
};

TEST_F(SubmissionTest, AnswersOnceAllAreChecked) {
  const auto submission = Make(v1::CHECK);
  EXPECT_FALSE(submission->OnChecked(1, Answer(0)));
  EXPECT_THAT(answers_, IsEmpty());
  EXPECT_FALSE(submission->OnChecked(0, Answer(3)));
  ASSERT_THAT(answers_, SizeIs(1));
  EXPECT_EQ(answers_[0][0].result().code(), 3u);
  EXPECT_EQ(answers_[0][0].status(), 0);
  EXPECT_EQ(answers_[0][0].result().hash(), rpc::Sha256("a"));
  EXPECT_EQ(answers_[0][1].result().code(), 0u);
  EXPECT_EQ(answers_[0][1].result().hash(), rpc::Sha256("b"));
}

TEST_F(SubmissionTest, AnswersOnceAllAreCommittedOrRefused) {
  const auto submission = Make(v1::COMMIT);
  EXPECT_TRUE(submission->OnChecked(0, Answer(0)));
  // Refused by the application: nothing more comes of it.
  EXPECT_FALSE(submission->OnChecked(1, Answer(3)));
  EXPECT_THAT(answers_, IsEmpty());
  submission->OnCommitted(0, Committed(5));
  ASSERT_THAT(answers_, SizeIs(1));
  EXPECT_EQ(answers_[0][0].result().height(), 5);
  EXPECT_EQ(answers_[0][1].result().height(), 0);
  EXPECT_EQ(answers_[0][1].result().code(), 3u);
}

TEST_F(SubmissionTest, ARefusalIsToldWithItsReason) {
  const auto submission = Make(v1::COMMIT);
  submission->OnRefused(0, absl::AbortedError("dropped"));
  submission->OnRefused(1, absl::ResourceExhaustedError("full"));
  ASSERT_THAT(answers_, SizeIs(1));
  EXPECT_EQ(answers_[0][0].status(), 10);
  EXPECT_EQ(answers_[0][0].message(), "dropped");
  EXPECT_EQ(answers_[0][0].result().hash(), rpc::Sha256("a"));
  EXPECT_EQ(answers_[0][1].status(), 8);
}

TEST_F(SubmissionTest, WhatIsKnownIsAnsweredWhenTimeIsUp) {
  const auto submission = Make(v1::COMMIT);
  submission->OnChecked(0, Answer(0));
  submission->OnChecked(1, Answer(0));
  submission->OnCommitted(0, Committed(5));
  submission->Expire();
  ASSERT_THAT(answers_, SizeIs(1));
  EXPECT_EQ(answers_[0][0].status(), 0);
  EXPECT_EQ(answers_[0][0].result().height(), 5);
  EXPECT_EQ(answers_[0][1].status(), 4);
  EXPECT_EQ(answers_[0][1].result().gas_wanted(), 7);
}

TEST_F(SubmissionTest, AnswersOnce) {
  const auto submission = Make(v1::COMMIT);
  submission->OnRefused(0, absl::AbortedError("dropped"));
  // Of the same one: the other is not known yet.
  submission->OnRefused(0, absl::AbortedError("dropped"));
  EXPECT_THAT(answers_, IsEmpty());
  submission->OnChecked(1, Answer(0));
  submission->Expire();
  submission->Expire();
  EXPECT_FALSE(submission->OnChecked(0, Answer(0)));
  submission->OnCommitted(1, Committed(5));
  EXPECT_THAT(answers_, SizeIs(1));
}

TEST_F(SubmissionTest, AReasonInTheInfoIsTheLogWhereThatIsEmpty) {
  const auto submission = Make(v1::CHECK);
  ResponseCheckTx answer;
  answer.set_code(2);
  answer.set_info("no key");
  submission->OnChecked(0, answer);
  answer.set_log("no value");
  submission->OnChecked(1, answer);
  ASSERT_THAT(answers_, SizeIs(1));
  EXPECT_EQ(answers_[0][0].result().log(), "no key");
  EXPECT_EQ(answers_[0][1].result().log(), "no value");
}

TEST(SubmissionDeadlinesTest, NothingExpiresAtTheDeadlineOfWhatIsOver) {
  SubmissionDeadlines deadlines;
  const absl::Time earlier = absl::Now() + absl::Milliseconds(300);
  for (int i = 0; i < 1024; ++i) {
    deadlines.Add(earlier, std::weak_ptr<Submission>());
  }
  rpc::Mutex mu;
  absl::Time expired = absl::InfinitePast();
  const auto submission = MakeSubmission([&](Submission::Results) {
    rpc::MutexLock lock(mu);
    expired = absl::Now();
    mu.NotifyAll();
  });
  const absl::Time deadline = earlier + absl::Milliseconds(300);
  deadlines.Add(deadline, submission);  // sweeps the others away
  rpc::MutexLock lock(mu);
  ASSERT_TRUE(mu.AwaitFor(absl::Seconds(20),
                          [&] { return expired != absl::InfinitePast(); }));
  EXPECT_GE(expired, deadline);
}

}  // namespace
}  // namespace tandem::node

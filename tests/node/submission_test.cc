#include "node/submission.h"

#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace tandem::node {
namespace {

std::shared_ptr<Submission> MakeSubmission(Submission::Done done) {
  google::protobuf::RepeatedPtrField<std::string> txs;
  *txs.Add() = "a";
  return std::make_shared<Submission>(txs, v1::COMMIT, std::move(done));
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

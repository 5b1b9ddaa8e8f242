#include "app/checked_application.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::app {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::HasSubstr;

// Counts what reaches it, and answers too few results when it is told to.
class Sloppy final : public Application {
 public:
  absl::StatusOr<abci::ResponseFinalizeBlock> FinalizeBlock(
      const abci::RequestFinalizeBlock& request) override {
    ++blocks;
    if (is_sloppy) return abci::ResponseFinalizeBlock();
    return Application::FinalizeBlock(request);
  }

  int blocks = 0;
  bool is_sloppy = false;
};

abci::RequestFinalizeBlock BlockOf(std::int64_t height) {
  abci::RequestFinalizeBlock block;
  block.set_height(height);
  block.add_txs("a=1");
  return block;
}

TEST(CheckedApplicationTest, RefusesACallThatIsAgainstTheContract) {
  Sloppy application;
  CheckedApplication checked(application, "test", {.refuse = true});
  ASSERT_THAT(checked.Info({}), IsOk());
  EXPECT_THAT(checked.FinalizeBlock(BlockOf(1)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("N5: FinalizeBlock of height 1 without")));
  EXPECT_EQ(application.blocks, 0);
}

TEST(CheckedApplicationTest, RefusesAnAnswerThatIsAgainstTheContract) {
  Sloppy application;
  CheckedApplication checked(application, "test", {.refuse = true});
  ASSERT_THAT(checked.Info({}), IsOk());
  abci::RequestInitChain genesis;
  auto& validator = *genesis.add_validators();
  validator.mutable_pub_key()->set_ed25519(std::string(32, 'a'));
  validator.set_power(1);
  ASSERT_THAT(checked.InitChain(genesis), IsOk());
  application.is_sloppy = true;
  EXPECT_THAT(checked.FinalizeBlock(BlockOf(1)),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("A5: FinalizeBlock of height 1")));
  EXPECT_EQ(application.blocks, 1);
}

TEST(CheckedApplicationTest, OtherwiseLetsAllPass) {
  Sloppy application;
  application.is_sloppy = true;
  CheckedApplication checked(application, "test", {});
  ASSERT_THAT(checked.Info({}), IsOk());
  EXPECT_THAT(checked.FinalizeBlock(BlockOf(1)), IsOk());
  EXPECT_THAT(checked.Query({}), StatusIs(absl::StatusCode::kUnimplemented));
}

TEST(CheckedApplicationTest, WritesATrace) {
  const rpc::testing::TempDir dir;
  auto writer = ::tandem::abci::TraceWriter::Open(dir.File("trace"));
  ASSERT_THAT(writer, IsOk());
  Application application;
  {
    CheckedApplication checked(application, "test", {.record = writer->get()});
    ASSERT_THAT(checked.Info({}), IsOk());
  }
  const auto reader = ::tandem::abci::TraceReader::Open(dir.File("trace"));
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*(*reader)->Next())->started().program(), "test");
  EXPECT_TRUE((*(*reader)->Next())->call_began().request().has_info());
  EXPECT_TRUE((*(*reader)->Next())->call_ended().response().has_info());
}

}  // namespace
}  // namespace tandem::app

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <memory>

#include "tests/cli/cli.h"

namespace tandem::node::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

class QueryTest : public ::testing::Test {
 protected:
  QueryTest() { cli_.Run({"submit"}, "color=blue\nsize=4\n"); }

  Cli cli_;
  const std::unique_ptr<Running> up_ = cli_.Up();
};

TEST_F(QueryTest, PrintsTheValueAlone) {
  const Outcome outcome = cli_.Run({"query", "color"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out, "blue\n");
}

TEST_F(QueryTest, AKeyThatDoesNotExistIsAnError) {
  const Outcome outcome = cli_.Run({"query", "color", "shape", "size"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.out, "blue\n\n4\n");
  EXPECT_THAT(outcome.err, HasSubstr("shape: no value at height"));
}

TEST_F(QueryTest, TextThatIsNotUtf8IsRefusedWithoutALineInAnyLog) {
  const Outcome outcome =
      cli_.RunBash("\"$0\" query --path $'\\xff' color; \"$0\" query size");
  EXPECT_THAT(outcome.err, HasSubstr("Query"));
  EXPECT_THAT(outcome.err, Not(HasSubstr("libprotobuf")));
  up_->Signal(SIGTERM);
  EXPECT_THAT(up_->Wait().err, Not(HasSubstr("protobuf")));
}

TEST_F(QueryTest, TakesAndPrintsHexadecimal) {
  EXPECT_EQ(cli_.Run({"query", "--hex", "636f6c6f72"}).out, "626c7565\n");
  const Outcome wrong = cli_.Run({"query", "--hex", "xyz"});
  EXPECT_EQ(wrong.status, 1);
  EXPECT_THAT(wrong.err, HasSubstr("not hexadecimal"));
}

TEST_F(QueryTest, SaysAnObject) {
  const auto objects = cli_.Run({"query", "--json", "color"}).Objects();
  ASSERT_THAT(objects, SizeIs(1));
  EXPECT_EQ(objects[0]["key"], "color");
  EXPECT_EQ(objects[0]["value"], "blue");
  EXPECT_EQ(objects[0]["value_hex"], "626c7565");
  EXPECT_EQ(objects[0]["code"], 0);
  EXPECT_GT(objects[0]["height"], 0);
}

}  // namespace
}  // namespace tandem::node::testing

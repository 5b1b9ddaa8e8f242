#include "rpc/server/refusal_log.h"

#include <memory>
#include <sstream>
#include <string>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"
#include "tests/support/eventually.h"

namespace tandem::rpc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class RefusalLogTest : public ::testing::Test {
 protected:
  RefusalLogTest() {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_)));
  }
  // What was logged since the last time.
  std::string Text() {
    std::string text = text_.str();
    text_.str("");
    return text;
  }

  const Caller caller_{
      .uid = 1001, .gid = 1002, .groups = {1002, 27}, .pid = 42};
  RefusalLog log_{"unix:/run/kv.sock"};

 private:
  std::ostringstream text_;
};

TEST_F(RefusalLogTest, ALineSaysWhoWhereWhatAndWhy) {
  log_.Add(Refusal::kNotAllowedToCall, caller_, "no Put for you");
  EXPECT_THAT(Text(),
              AllOf(HasSubstr("unix:/run/kv.sock"), HasSubstr("uid 1001"),
                    HasSubstr("gid 1002"), HasSubstr("groups 1002 27"),
                    HasSubstr("pid 42"), HasSubstr("no Put for you"),
                    HasSubstr("not-allowed-to-call")));
}

TEST_F(RefusalLogTest, OneReasonDoesNotHideAnother) {
  for (int i = 0; i < 100; ++i) {
    log_.Add(Refusal::kTooManyConnections, caller_, "one");
  }
  EXPECT_THAT(Text(), HasSubstr("one"));
  log_.Add(Refusal::kNotAllowedToCall, caller_, "another");
  EXPECT_THAT(Text(), HasSubstr("another"));
}

TEST_F(RefusalLogTest, AFloodIsCountedAndToldEvenWhenItEnds) {
  for (int i = 0; i < 1000; ++i) {
    log_.Add(Refusal::kTooManyConnections, caller_, "flood");
  }
  EXPECT_EQ(log_.count(Refusal::kTooManyConnections), 1000u);
  EXPECT_EQ(log_.count(Refusal::kNotAllowedToCall), 0u);
  EXPECT_TRUE(log_.has_unlogged());
  const std::string first = Text();
  EXPECT_LT(first.size(), 1000u);
  log_.Flush();
  EXPECT_EQ(Text(), "") << "a second has not passed";
  EXPECT_TRUE(test::Eventually([&] {
    log_.Flush();
    return !log_.has_unlogged();
  }));
  EXPECT_THAT(Text(), AllOf(HasSubstr("and 999 more"),
                            HasSubstr("too-many-connections")));
  log_.Flush();
  EXPECT_EQ(Text(), "");
}

TEST_F(RefusalLogTest, EachReasonHasANameOfItsOwn) {
  std::string seen = " ";
  for (std::size_t i = 0; i < kRefusals; ++i) {
    const std::string name =
        " " + std::string(RefusalName(static_cast<Refusal>(i))) + " ";
    EXPECT_NE(name, " unknown ");
    EXPECT_THAT(seen, Not(HasSubstr(name)));
    seen += name;
  }
}

}  // namespace
}  // namespace tandem::rpc

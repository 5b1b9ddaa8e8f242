#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "proto/abci/call_recorder.h"
#include "proto/abci/trace_file.h"
#include "rpc/testing/temp_dir.h"
#include "tests/cli/cli.h"

namespace tandem::node::testing {
namespace {

using tendermint::abci::RequestCommit;
using tendermint::abci::RequestInfo;
using tendermint::abci::ResponseInfo;
using ::testing::HasSubstr;

class TraceTest : public ::testing::Test {
 protected:
  // Info; and a Commit that nothing came before.
  void Record(bool is_good) {
    const auto writer = abci::TraceWriter::Open(path_);
    ASSERT_TRUE(writer.ok()) << writer.status();
    abci::CallRecorder recorder("test", abci::WriteTo(**writer));
    const auto connection = recorder.Connected();
    recorder.Ended(recorder.Began(connection, RequestInfo()),
                   absl::StatusOr<ResponseInfo>(ResponseInfo()));
    if (!is_good) recorder.Began(connection, RequestCommit());
  }

  Cli cli_;
  const rpc::testing::TempDir dir_;
  const std::string path_ = dir_.File("trace");
};

TEST_F(TraceTest, AGoodTraceIsSaidToBeOne) {
  Record(true);
  const Outcome outcome = cli_.Run({"trace", "check", path_});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "4 records, 0 against the app contract\n");
}

TEST_F(TraceTest, WhatIsAgainstTheContractIsSaidWithItsRecord) {
  Record(false);
  const Outcome outcome = cli_.Run({"trace", "check", path_});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr("record 5: N3: Commit without"));
  EXPECT_THAT(outcome.out,
              HasSubstr("\n5 records, 1 against the app contract\n"));
  const auto objects = cli_.Run({"trace", "check", "--json", path_}).Objects();
  ASSERT_EQ(objects.size(), 1u);
  EXPECT_EQ(objects[0]["record"], 5);
  EXPECT_EQ(objects[0]["rule"], "N3");
}

TEST_F(TraceTest, ACutRecordIsLeftOutAndSaid) {
  Record(false);
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 1);
  const Outcome outcome = cli_.Run({"trace", "check", path_});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("4 records, 0 against"));
  EXPECT_THAT(outcome.out, HasSubstr("cut"));
}

TEST_F(TraceTest, ShowsEachRecord) {
  Record(false);
  const auto objects = cli_.Run({"trace", "show", path_}).Objects();
  ASSERT_EQ(objects.size(), 5u);
  EXPECT_EQ(objects[0]["record"], 1);
  EXPECT_EQ(objects[0]["started"]["program"], "test");
  EXPECT_TRUE(objects[4]["callBegan"]["request"].contains("commit"));
}

TEST_F(TraceTest, WhatIsNoTraceIsSaidToBeNone) {
  const Outcome outcome =
      cli_.Run({"trace", "check", TANDEM_BIN_DIR "/tandem"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("is no trace"));
}

}  // namespace
}  // namespace tandem::node::testing

#include "proto/abci/trace_file.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/abci/call_recorder.h"
#include "rpc/base/file.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::abci {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TraceFileTest : public ::testing::Test {
 protected:
  v1::TraceRecord Record(const std::string& program) {
    v1::TraceRecord record;
    record.mutable_started()->set_program(program);
    return record;
  }
  void Write(const std::vector<std::string>& programs) {
    const auto writer = TraceWriter::Open(path_);
    ASSERT_THAT(writer, IsOk());
    for (const std::string& program : programs) {
      ASSERT_THAT((*writer)->Append(Record(program)), IsOk());
    }
  }
  // What can be read; is_cut_ then.
  absl::StatusOr<std::vector<std::string>> Read() {
    auto reader = TraceReader::Open(path_);
    if (!reader.ok()) return reader.status();
    std::vector<std::string> programs;
    while (true) {
      auto record = (*reader)->Next();
      if (!record.ok()) return record.status();
      if (!*record) break;
      programs.push_back((*record)->started().program());
    }
    is_cut_ = (*reader)->is_cut();
    return programs;
  }

  const rpc::testing::TempDir temp_;
  const std::string path_ = temp_.File("trace");
  bool is_cut_ = false;
};

TEST_F(TraceFileTest, IsReadAsItWasWritten) {
  Write({"one", std::string(1'000'000, 'x')});
  Write({"three"});
  const auto read = Read();
  ASSERT_THAT(read, IsOk());
  EXPECT_THAT(*read, ElementsAre("one", std::string(1'000'000, 'x'), "three"));
  EXPECT_FALSE(is_cut_);
}

TEST_F(TraceFileTest, IsReadUpToWhereItWasCutAnywhere) {
  Write({"one", "two"});
  const std::string whole = *rpc::ReadFile(path_);
  Write({std::string(300, 'x')});
  const std::string longer = *rpc::ReadFile(path_);
  for (std::size_t size = whole.size() + 1; size < longer.size(); ++size) {
    std::filesystem::resize_file(path_, size);
    const auto read = Read();
    ASSERT_THAT(read, IsOk()) << size;
    EXPECT_THAT(*read, ElementsAre("one", "two"));
    EXPECT_TRUE(is_cut_);
    std::ofstream(path_, std::ios::binary) << longer;
  }
  std::filesystem::resize_file(path_, longer.size() - 1);
  Write({"next"});
  const auto read = Read();
  ASSERT_THAT(read, IsOk());
  EXPECT_THAT(*read, ElementsAre("one", "two", "next"));
  EXPECT_FALSE(is_cut_);
}

TEST_F(TraceFileTest, WhatIsNoTraceIsRefusedAndLeftAlone) {
  std::ofstream(path_) << "some text that somebody still needs";
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kDataLoss,
                               AllOf(HasSubstr(path_), HasSubstr("byte 0"))));
  EXPECT_THAT(TraceWriter::Open(path_), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(*rpc::ReadFile(path_), "some text that somebody still needs");
}

TEST_F(TraceFileTest, HasOneWriter) {
  const auto writer = TraceWriter::Open(path_);
  ASSERT_THAT(writer, IsOk());
  EXPECT_THAT(
      TraceWriter::Open(path_),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(path_)));
}

// What a killed program leaves: all but the latest CheckTx.
TEST_F(TraceFileTest, ARecorderHasWrittenWhatMattersBeforeItGoesOn) {
  const auto writer = TraceWriter::Open(path_);
  ASSERT_THAT(writer, IsOk());
  CallRecorder recorder("test", WriteTo(**writer));
  const auto size = [this] { return std::filesystem::file_size(path_); };
  std::size_t before = size();
  EXPECT_GT(before, 0u);
  recorder.Began(1, tendermint::abci::RequestCheckTx());
  EXPECT_EQ(size(), before);
  const auto commit = recorder.Began(1, tendermint::abci::RequestCommit());
  EXPECT_GT(size(), before);
  before = size();
  recorder.Ended(commit, absl::StatusOr<tendermint::abci::ResponseCommit>(
                             tendermint::abci::ResponseCommit()));
  EXPECT_GT(size(), before);
}

}  // namespace
}  // namespace tandem::abci

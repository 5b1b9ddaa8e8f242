#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cli/cli.h"

namespace tandem::node::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class SubmitTest : public ::testing::Test {
 protected:
  Cli cli_;
  const std::unique_ptr<Running> up_ = cli_.Up();
};

TEST_F(SubmitTest, CommitsEachLine) {
  const Outcome outcome = cli_.Run({"submit"}, "color=blue\nsize=4\n");
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("2 committed"));
  EXPECT_THAT(outcome.err, IsEmpty());
  EXPECT_EQ(cli_.Run({"query", "color", "size"}).out, "blue\n4\n");
}

TEST_F(SubmitTest, SaysOneObjectPerLine) {
  const Outcome outcome = cli_.Run({"submit", "--json"}, "color=blue\nwrong\n");
  EXPECT_EQ(outcome.status, 1);
  const auto objects = outcome.Objects();
  ASSERT_THAT(objects, SizeIs(2));
  EXPECT_EQ(objects[0]["line"], 1);
  // SHA-256 of "color=blue".
  EXPECT_EQ(objects[0]["hash"],
            "05964ac858f1d9d717aea7043a3fe184"
            "28f579b455eda3895a4de7a2c21f30b2");
  EXPECT_EQ(objects[0]["code"], 0);
  EXPECT_TRUE(objects[0]["log"].is_string());
  EXPECT_GT(objects[0]["height"], 0);
  EXPECT_EQ(objects[1]["line"], 2);
  EXPECT_EQ(objects[1]["code"], 2);
  EXPECT_EQ(objects[1]["height"], 0);
}

TEST_F(SubmitTest, AWrongLineIsNamedAndDoesNotStopTheRest) {
  const std::string large(4 << 20, 'x');
  const Outcome outcome = cli_.Run(
      {"submit"},
      absl::StrCat("a=1\n\n", "no-separator\nb=", large, "\na=1\nc=3\n"));
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr("2 committed"));
  EXPECT_THAT(outcome.out, HasSubstr("4 failed"));
  EXPECT_THAT(outcome.err, HasSubstr("line 2: INVALID_ARGUMENT: the line is "
                                     "empty"));
  EXPECT_THAT(outcome.err, HasSubstr("line 3: the application refused it with "
                                     "code 2"));
  EXPECT_THAT(outcome.err, HasSubstr("line 4: INVALID_ARGUMENT: larger than"));
  EXPECT_THAT(outcome.err, HasSubstr("line 5: ALREADY_EXISTS"));
  EXPECT_THAT(outcome.err, Not(HasSubstr("line 6")));
  EXPECT_EQ(cli_.Run({"query", "c"}).out, "3\n");
}

TEST_F(SubmitTest, TakesBytesInHexadecimal) {
  // k=\x00\xff, then two lines that are not bytes.
  const Outcome outcome = cli_.Run({"submit", "--hex"}, "6b3d00FF\n6b3\nzz\n");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr("1 committed"));
  EXPECT_THAT(outcome.err, HasSubstr("line 2: INVALID_ARGUMENT"));
  EXPECT_THAT(outcome.err, HasSubstr("line 3: INVALID_ARGUMENT"));
  EXPECT_EQ(cli_.Run({"query", "--hex", "6b"}).out, "00ff\n");
}

TEST_F(SubmitTest, TheLastLineNeedsNoNewline) {
  EXPECT_EQ(cli_.Run({"submit"}, "a=1\nb=2").status, 0);
  EXPECT_EQ(cli_.Run({"query", "b"}).out, "2\n");
}

TEST_F(SubmitTest, NoLinesAreNoError) {
  EXPECT_EQ(cli_.Run({"submit"}, "").status, 0);
}

TEST_F(SubmitTest, WaitsForTheCheckAloneIfAsked) {
  const Outcome outcome =
      cli_.Run({"submit", "--wait", "check", "--json"}, "a=1\n");
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  ASSERT_THAT(outcome.Objects(), SizeIs(1));
  EXPECT_EQ(outcome.Objects()[0]["height"], 0);
}

TEST_F(SubmitTest, ManyLinesAreAnsweredInTheirOrder) {
  std::string input;
  for (int i = 1; i <= 5000; ++i)
    absl::StrAppend(&input, "key", i, "=", i, "\n");
  const std::string file = cli_.File("many");
  std::ofstream(file) << input;
  const Outcome outcome = cli_.Run({"submit", "--json", file});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  const auto objects = outcome.Objects();
  ASSERT_THAT(objects, SizeIs(5000));
  // In the input's order, though batches may overtake each other on their way.
  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(objects[i]["line"], i + 1);
    ASSERT_GT(objects[i]["height"], 1);
  }
  EXPECT_EQ(cli_.Run({"query", "key1", "key5000"}).out, "1\n5000\n");
}

TEST_F(SubmitTest, ALineIsSentWhileTheNextIsNotWritten) {
  const std::string fifo = cli_.File("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const auto submit = cli_.Start({"submit", "--json", fifo});
  const int end = ::open(fifo.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_EQ(::write(end, "a=1\nb=", 6), 6);
  EXPECT_TRUE(submit->WaitLines(1));
  ASSERT_EQ(::write(end, "2\n", 2), 2);
  EXPECT_TRUE(submit->WaitLines(2));
  ::close(end);
  EXPECT_EQ(submit->Wait().status, 0);
}

TEST_F(SubmitTest, ASignalEndsTheWaitForALineWithASummary) {
  for (const auto& [signal, status] :
       {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
    const std::string fifo = cli_.File(absl::StrCat("fifo", signal));
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    const auto submit = cli_.Start({"submit", "--json", fifo});
    const int end = ::open(fifo.c_str(), O_WRONLY | O_CLOEXEC);
    // The second is no line before its newline is there.
    const std::string text = absl::StrCat("s", signal, "=1\npart=2");
    ASSERT_EQ(::write(end, text.data(), text.size()), text.size());
    EXPECT_TRUE(submit->WaitLines(1));
    submit->Signal(signal);
    const Outcome outcome = submit->Wait();
    ::close(end);
    EXPECT_EQ(outcome.status, status);
    EXPECT_THAT(outcome.Objects(), SizeIs(1));
    EXPECT_EQ(outcome.err, "interrupted after line 1\n");
  }
  EXPECT_EQ(cli_.Run({"query", "part"}).out, "\n");
}

TEST_F(SubmitTest, WhatASignalFindsOnItsWayIsAnswered) {
  const std::string file = cli_.File("many");
  std::ofstream lines(file);
  for (int i = 1; i <= 200000; ++i) lines << "many" << i << "=1\n";
  lines.close();
  const auto submit = cli_.Start({"submit", "--json", file});
  EXPECT_TRUE(submit->WaitLines(1));
  submit->Signal(SIGINT);
  const Outcome outcome = submit->Wait();
  EXPECT_EQ(outcome.status, 130);
  const auto objects = outcome.Objects();
  ASSERT_FALSE(objects.empty());
  ASSERT_LT(objects.size(), 200000);
  for (const auto& object : objects) ASSERT_GT(object["height"], 0) << object;
  EXPECT_EQ(outcome.err,
            absl::StrCat("interrupted after line ", objects.size(), "\n"));
  // Nothing was handed in that is not answered.
  const std::string last = absl::StrCat("many", objects.size());
  const std::string next = absl::StrCat("many", objects.size() + 1);
  EXPECT_EQ(cli_.Run({"query", last, next}).out, "1\n\n");
}

TEST_F(SubmitTest, AFileThatIsNotThereIsNamed) {
  const Outcome outcome = cli_.Run({"submit", cli_.File("none")});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr(cli_.File("none")));
}

TEST_F(SubmitTest, AnInputThatCannotBeReadIsNamed) {
  const Outcome directory = cli_.Run({"submit", cli_.data()});
  EXPECT_EQ(directory.status, 1);
  EXPECT_THAT(directory.err, HasSubstr("cannot read " + cli_.data()));
  const Outcome closed = cli_.RunBash("\"$0\" submit <&-");
  EXPECT_EQ(closed.status, 1);
  EXPECT_THAT(closed.err, HasSubstr("cannot read standard input"));
}

TEST_F(SubmitTest, TakesTheNodesAddress) {
  const std::string address = Cli::Ready(*up_)["node"]["address"];
  const Outcome outcome = cli_.RunBash(
      "unset TANDEM_DATA; echo a=1 | \"$0\" "
      "submit --node " +
      address);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
}

TEST_F(SubmitTest, AReaderThatWentAwayEndsItQuietly) {
  const Outcome outcome = cli_.RunBash(
      "seq -f 'k%g=1' 20000 | \"$0\" submit --json | head -n 1 | wc -l; "
      "echo \"${PIPESTATUS[1]}\"");
  EXPECT_EQ(outcome.out, "1\n141\n");
  EXPECT_THAT(outcome.err, IsEmpty());
}

TEST(SubmitWithoutNodeTest, SaysWhatToDo) {
  Cli cli;
  const Outcome outcome = cli.Run({"submit"}, "a=1\n");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("no pair runs in " + cli.data()));
  EXPECT_THAT(outcome.err, HasSubstr("tandem up --data " + cli.data()));
}

TEST(SubmitWithoutNodeTest, NamesTheAddressWhereNobodyListens) {
  Cli cli;
  const std::string address = "unix:" + cli.File("none.sock");
  const Outcome outcome = cli.Run({"submit", "--node", address}, "a=1\n");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr(address));
  EXPECT_THAT(outcome.err, HasSubstr("`tandem up` starts a pair"));
}

}  // namespace
}  // namespace tandem::node::testing

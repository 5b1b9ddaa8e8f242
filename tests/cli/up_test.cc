#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "rpc/base/file.h"
#include "rpc/base/unique_fd.h"
#include "rpc/testing/status_matchers.h"
#include "tests/cli/cli.h"

namespace tandem::node::testing {
namespace {

using ::tandem::rpc::testing::IsOkAndHolds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

bool Exists(const std::string& path) {
  struct stat found;
  return ::lstat(path.c_str(), &found) == 0;
}

// What a stopped pair must not leave.
void ExpectNobodyListens(const Cli& cli) {
  EXPECT_FALSE(Exists(cli.data() + "/run/app.sock"));
  EXPECT_FALSE(Exists(cli.data() + "/run/node.sock"));
  EXPECT_FALSE(Exists(cli.data() + "/run/addresses.json"));
}

TEST(UpTest, SaysWhereBothListen) {
  Cli cli;
  const auto up = cli.Up();
  const auto ready = Cli::Ready(*up);
  EXPECT_EQ(ready["data"], cli.data());
  EXPECT_EQ(ready["app"]["address"], "unix:" + cli.data() + "/run/app.sock");
  EXPECT_EQ(ready["node"]["address"], "unix:" + cli.data() + "/run/node.sock");
}

TEST(UpTest, TheDataIsForItsOwnerAlone) {
  Cli cli;
  const auto up = cli.Up();
  struct stat found;
  ASSERT_EQ(::stat(cli.data().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0700u);
}

TEST(UpTest, TellsTheServiceManagerOfBothAtOnce) {
  Cli cli;
  const rpc::UniqueFd manager(
      ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  cli.File("notify").copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(manager.get(), reinterpret_cast<const sockaddr*>(&address),
                   sizeof(address)),
            0);
  ASSERT_EQ(::setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
  const auto up = cli.Up();
  ::unsetenv("NOTIFY_SOCKET");
  Cli::Ready(*up);
  up->Signal(SIGTERM);
  EXPECT_EQ(up->Wait().status, 0);
  std::vector<std::string> told;
  char message[4096];
  for (ssize_t size;
       (size = ::recv(manager.get(), message, sizeof(message), 0)) >= 0;) {
    told.emplace_back(message, size);
  }
  EXPECT_THAT(told, ElementsAre(StartsWith("READY=1\nSTATUS=application and "),
                                "STOPPING=1"));
}

class UpSignalTest : public ::testing::TestWithParam<int> {};

TEST_P(UpSignalTest, StopsBothAndExitsWithZero) {
  Cli cli;
  const auto up = cli.Up();
  const auto ready = Cli::Ready(*up);
  const Watched app(ready["app"]["pid"]);
  const Watched node(ready["node"]["pid"]);
  up->Signal(GetParam());
  const Outcome outcome = up->Wait();
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(app.WaitEnded());
  EXPECT_TRUE(node.WaitEnded());
  ExpectNobodyListens(cli);
}

INSTANTIATE_TEST_SUITE_P(Signals, UpSignalTest,
                         ::testing::Values(SIGTERM, SIGINT),
                         [](const auto& signal) -> std::string {
                           return signal.param == SIGINT ? "Int" : "Term";
                         });

TEST(UpTest, ASecondOneOnTheSameDirectoryIsRefused) {
  Cli cli;
  const auto up = cli.Up();
  const Outcome second = cli.Run({"up"});
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.err,
              HasSubstr("another `tandem up` runs in " + cli.data()));
  EXPECT_EQ(cli.Run({"status"}).status, 0);
}

TEST(UpTest, ADirectoryTooDeepForASocketWorks) {
  Cli cli(std::string(120, 'd'));
  const auto up = cli.Up();
  const auto ready = Cli::Ready(*up);
  const std::string address = ready["node"]["address"];
  EXPECT_THAT(address, StartsWith("unix:/tmp/tandem-"));
  EXPECT_EQ(cli.Run({"submit"}, "deep=yes\n").status, 0);
  EXPECT_EQ(cli.Run({"query", "deep"}).out, "yes\n");
  up->Signal(SIGTERM);
  EXPECT_EQ(up->Wait().status, 0);
  const std::string directory =
      std::filesystem::path(address.substr(5)).parent_path();
  EXPECT_FALSE(Exists(directory));
}

TEST(UpTest, AShortDirectoryThatAKilledOneLeftIsUsedAgain) {
  Cli cli(std::string(120, 'd'));
  auto up = cli.Up();
  const auto before = Cli::Ready(*up);
  const Watched app(before["app"]["pid"]);
  const Watched node(before["node"]["pid"]);
  up->Signal(SIGKILL);
  EXPECT_TRUE(app.WaitEnded());
  EXPECT_TRUE(node.WaitEnded());
  up = cli.Up();
  EXPECT_EQ(Cli::Ready(*up)["node"]["address"], before["node"]["address"]);
  up->Signal(SIGTERM);
  EXPECT_EQ(up->Wait().status, 0);
}

TEST(UpTest, TakesItsChildrenWithItWhenKilled) {
  Cli cli;
  const auto up = cli.Up();
  const auto ready = Cli::Ready(*up);
  const Watched app(ready["app"]["pid"]);
  const Watched node(ready["node"]["pid"]);
  up->Signal(SIGKILL);
  EXPECT_TRUE(app.WaitEnded());
  EXPECT_TRUE(node.WaitEnded());
}

// One of the two, and the other one.
class UpChildTest : public ::testing::TestWithParam<const char*> {
 protected:
  const std::string one_ = GetParam();
  const std::string other_ = one_ == "app" ? "node" : "app";
};

INSTANTIATE_TEST_SUITE_P(Children, UpChildTest,
                         ::testing::Values("app", "node"),
                         [](const auto& child) -> std::string {
                           return child.param;
                         });

TEST_P(UpChildTest, OneThatIsKilledIsStartedAgain) {
  Cli cli;
  const auto up = cli.Up();
  ASSERT_EQ(cli.Run({"submit"}, "before=1\n").status, 0);
  const auto first = Cli::Ready(*up);
  ASSERT_EQ(::kill(first[one_]["pid"], SIGKILL), 0);
  const auto second = Cli::Ready(*up, 2);
  EXPECT_NE(second[one_]["pid"], first[one_]["pid"]);
  EXPECT_EQ(second[one_]["address"], first[one_]["address"]);
  EXPECT_EQ(second[other_]["pid"], first[other_]["pid"]);
  EXPECT_EQ(cli.Run({"submit"}, "after=2\n").status, 0);
  EXPECT_EQ(cli.Run({"query", "before"}).out, "1\n");
  EXPECT_EQ(cli.Run({"query", "after"}).out, "2\n");

  const Watched again(second[one_]["pid"]);
  const Watched lasting(second[other_]["pid"]);
  up->Signal(SIGTERM);
  const Outcome outcome = up->Wait();
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(again.WaitEnded());
  EXPECT_TRUE(lasting.WaitEnded());
  const auto ended = outcome.Events("ended");
  ASSERT_THAT(ended, SizeIs(1));
  EXPECT_EQ(ended[0]["program"], one_);
  EXPECT_EQ(ended[0]["pid"], first[one_]["pid"]);
  EXPECT_EQ(ended[0]["how"], "was ended by signal 9 (Killed)");
  EXPECT_TRUE(ended[0]["exit_status"].is_null());
  EXPECT_EQ(ended[0]["again_after_seconds"], 0.0);
  const auto restarted = outcome.Events("restarted");
  ASSERT_THAT(restarted, SizeIs(1));
  EXPECT_EQ(restarted[0]["program"], one_);
  EXPECT_EQ(restarted[0]["pid"], second[one_]["pid"]);
  const std::string pid = first[one_]["pid"].dump();
  EXPECT_THAT(outcome.err,
              HasSubstr("(pid " + pid +
                        ") was ended by signal 9 (Killed); starting "
                        "it again at once"));
  ExpectNobodyListens(cli);
}

TEST_P(UpChildTest, OneThatExitsThoughNobodyAskedItToIsStartedAgain) {
  Cli cli;
  const auto up = cli.Up();
  const auto first = Cli::Ready(*up);
  ASSERT_EQ(::kill(first[one_]["pid"], SIGTERM), 0);
  EXPECT_NE(Cli::Ready(*up, 2)[one_]["pid"], first[one_]["pid"]);
  EXPECT_EQ(cli.Run({"submit"}, "after=2\n").status, 0);
  up->Signal(SIGTERM);
  const Outcome outcome = up->Wait();
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  const auto ended = outcome.Events("ended");
  ASSERT_THAT(ended, SizeIs(1));
  EXPECT_EQ(ended[0]["exit_status"], 0);
}

TEST_P(UpChildTest, WithoutRestartsTheOtherIsStoppedToo) {
  Cli cli;
  const auto up = cli.Start({"up", "--json", "--no-restart"});
  const auto ready = Cli::Ready(*up);
  const Watched left(ready[other_]["pid"]);
  ASSERT_EQ(::kill(ready[one_]["pid"], SIGKILL), 0);
  const Outcome outcome = up->Wait();
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("was ended by signal 9 (Killed)"));
  EXPECT_THAT(outcome.err, HasSubstr("pid " + ready[one_]["pid"].dump()));
  EXPECT_TRUE(left.WaitEnded());
  EXPECT_THAT(outcome.Events("restarted"), IsEmpty());
}

TEST_P(UpChildTest, OneThatCannotRunAnyMoreIsGivenUp) {
  Cli cli;
  const auto up = cli.Up();
  ASSERT_EQ(cli.Run({"submit"}, "color=blue\n").status, 0);
  const auto ready = Cli::Ready(*up);
  const Watched left(ready[other_]["pid"]);
  // A file is in the place of its data.
  const std::string data = cli.data() + "/" + one_;
  std::filesystem::rename(data, data + ".away");
  std::ofstream(data) << "precious";
  const absl::Time begin = absl::Now();
  ASSERT_EQ(::kill(ready[one_]["pid"], SIGKILL), 0);
  const Outcome outcome = up->Wait();
  EXPECT_EQ(outcome.status, 1);
  // It is started again at once, after 100 ms, 200 ms and 400 ms.
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(700));
  EXPECT_TRUE(left.WaitEnded());
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr(data), HasSubstr("starting it again in 400ms"),
                    HasSubstr("5 times in a row")));
  const auto ended = outcome.Events("ended");
  ASSERT_THAT(ended, SizeIs(5));
  EXPECT_EQ(ended[3]["again_after_seconds"], 0.4);
  EXPECT_TRUE(ended[4]["again_after_seconds"].is_null());
  EXPECT_EQ(ended[4]["exit_status"], 1);

  // Once the fault is gone, nothing is lost.
  std::filesystem::remove(data);
  std::filesystem::rename(data + ".away", data);
  const auto mended = cli.Up();
  EXPECT_EQ(cli.Run({"query", "color"}).out, "blue\n");
}

TEST(UpTest, BothMayDieAtOnce) {
  Cli cli;
  const auto up = cli.Up();
  ASSERT_EQ(cli.Run({"submit"}, "before=1\n").status, 0);
  const auto first = Cli::Ready(*up);
  ASSERT_EQ(::kill(first["app"]["pid"], SIGKILL), 0);
  ASSERT_EQ(::kill(first["node"]["pid"], SIGKILL), 0);
  // It may be ready in between, with the second one that it finds still dying.
  const absl::Time limit = absl::Now() + kLong;
  for (std::size_t time = 2; absl::Now() < limit; ++time) {
    const auto ready = Cli::Ready(*up, time);
    if (ready["app"]["pid"] != first["app"]["pid"] &&
        ready["node"]["pid"] != first["node"]["pid"]) {
      break;
    }
  }
  EXPECT_EQ(cli.Run({"submit"}, "after=2\n").status, 0);
  EXPECT_EQ(cli.Run({"query", "before"}).out, "1\n");
  up->Signal(SIGTERM);
  EXPECT_EQ(up->Wait().status, 0);
}

// The node is slow to notice that the application was started again.
TEST(UpTest, ReadyAgainIsAPairWithTheNewApplication) {
  Cli cli;
  const auto up = cli.Up();
  const auto app = [&cli] {
    const Outcome outcome = cli.Run({"status", "--json"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.Objects().at(0)["app"];
  };
  const auto before = app();
  const auto first = Cli::Ready(*up);
  ASSERT_EQ(::kill(first["node"]["pid"], SIGSTOP), 0);
  ASSERT_EQ(::kill(first["app"]["pid"], SIGKILL), 0);
  ASSERT_TRUE(up->WaitLines(3));  // "ready", "ended", "restarted"
  ASSERT_EQ(::kill(first["node"]["pid"], SIGCONT), 0);
  const auto second = Cli::Ready(*up, 2);
  EXPECT_EQ(second["node"]["pid"], first["node"]["pid"]);
  const auto after = app();
  EXPECT_EQ(after["state"], "RUNNING");
  EXPECT_EQ(before["pid"], first["app"]["pid"]);
  EXPECT_EQ(after["pid"], second["app"]["pid"]);
}

TEST(UpTest, TakesChildrenThatItStartedAgainWithItWhenKilled) {
  Cli cli;
  const auto up = cli.Up();
  const auto first = Cli::Ready(*up);
  ASSERT_EQ(::kill(first["app"]["pid"], SIGKILL), 0);
  const auto second = Cli::Ready(*up, 2);
  ASSERT_EQ(::kill(second["node"]["pid"], SIGKILL), 0);
  const auto third = Cli::Ready(*up, 3);
  const Watched app(third["app"]["pid"]);
  const Watched node(third["node"]["pid"]);
  up->Signal(SIGKILL);
  EXPECT_TRUE(app.WaitEnded());
  EXPECT_TRUE(node.WaitEnded());
}

TEST(UpTest, ANodeWhoseApplicationIsAheadIsNotStartedAgain) {
  Cli cli;
  auto up = cli.Up();
  ASSERT_EQ(cli.Run({"submit"}, "color=blue\n").status, 0);
  const auto ready = Cli::Ready(*up);
  const Watched app(ready["app"]["pid"]);
  // The node loses its data while it is dead, which `up` may not mend before.
  up->Signal(SIGSTOP);
  {
    const Watched node(ready["node"]["pid"]);
    ASSERT_EQ(::kill(ready["node"]["pid"], SIGKILL), 0);
    ASSERT_TRUE(node.WaitEnded());
  }
  std::filesystem::remove_all(cli.data() + "/node");
  up->Signal(SIGCONT);
  const Outcome outcome = up->Wait();
  EXPECT_EQ(outcome.status, 1);
  EXPECT_TRUE(app.WaitEnded());
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("this node has no blocks yet"),
                                 HasSubstr("exited with status 3"),
                                 HasSubstr("no restart mends that")));
  const auto ended = outcome.Events("ended");
  ASSERT_THAT(ended, SizeIs(2));
  EXPECT_EQ(ended[1]["program"], "node");
  EXPECT_EQ(ended[1]["exit_status"], 3);
  EXPECT_TRUE(ended[1]["again_after_seconds"].is_null());

  // Nor does it begin with one.
  up = cli.Start({"up", "--json"});
  const Outcome second = up->Wait();
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.err, HasSubstr("this node has no blocks yet"));
  EXPECT_THAT(second.Events("ready"), IsEmpty());
}

TEST(UpTest, ItsChildrenInheritNoDescriptors) {
  Cli cli;
  const std::string file = cli.File("inherited");
  std::ofstream(file) << "";
  const Outcome outcome = cli.RunBash(
      "exec 200<" + file +
      "; coproc up { exec \"$0\" up --json; }; read -r ready <&${up[0]}; "
      "for pid in $(grep -o '\"pid\":[0-9]*' <<<\"$ready\" | cut -d: -f2); do "
      "readlink /proc/$up_PID/fd/200 /proc/$pid/fd/200; done; "
      "kill -TERM $up_PID; wait $up_PID");
  EXPECT_EQ(outcome.out, file + "\n" + file + "\n");
}

TEST(UpTest, GoesOnWhenWhoHasReadThatItIsReadyLeaves) {
  Cli cli;
  const Outcome outcome = cli.RunBash(
      "exec 8< <(exec \"$0\" up --json); up=$!; read -r ready <&8; "
      "exec 8<&-; "
      "kill -KILL $(grep -o '\"pid\":[0-9]*' <<<\"$ready\" | cut -d: -f2); "
      "until echo color=blue | \"$0\" submit >&2; do sleep 0.1; done; "
      "\"$0\" query color; kill -TERM $up; wait $up || true");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out, "blue\n");
}

TEST(UpTest, RecordsWhatTheNodeAsksAndTheApplicationAnswers) {
  Cli cli;
  const auto up = cli.Up();
  ASSERT_EQ(cli.Run({"submit"}, "color=blue\n").status, 0);
  const Outcome shown = cli.Run({"trace", "show", cli.trace()});
  EXPECT_EQ(shown.status, 0) << shown.err;
  EXPECT_THAT(shown.out, HasSubstr(absl::Base64Escape("color=blue")));
}

TEST(UpTest, WhatWasCommittedIsThereAfterAKill) {
  Cli cli;
  auto up = cli.Up();
  ASSERT_EQ(cli.Run({"submit"}, "color=blue\n").status, 0);
  const Watched app(Cli::Ready(*up)["app"]["pid"]);
  const Watched node(Cli::Ready(*up)["node"]["pid"]);
  up->Signal(SIGKILL);
  ASSERT_TRUE(app.WaitEnded());
  ASSERT_TRUE(node.WaitEnded());
  up = cli.Up();
  EXPECT_EQ(cli.Run({"query", "color"}).out, "blue\n");
}

TEST(UpTest, AFileInThePlaceOfTheDirectoryIsNamed) {
  Cli cli;
  std::ofstream(cli.data()) << "precious";
  const Outcome outcome = cli.Run({"up"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr(cli.data() + " is there and is not a "
                                                  "directory"));
  EXPECT_THAT(rpc::ReadFile(cli.data()), IsOkAndHolds("precious"));
}

TEST(UpTest, AChildThatRefusesItsDataIsReported) {
  Cli cli;
  ASSERT_EQ(cli.Run({"up", "--genesis", cli.File("none.json")}).status, 1);
  EXPECT_EQ(cli.Run({"up", "--validator-key", cli.File("none.json")}).status,
            1);
  const Outcome outcome = cli.Run({"up", "--genesis", cli.File("none.json")});
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("tandem-node"), HasSubstr("none.json"),
                    Not(HasSubstr("starting it again"))));
}

TEST(UpTest, AReaderThatWentAwayStopsBoth) {
  Cli cli;
  const Outcome outcome =
      cli.RunBash("\"$0\" up | true; echo \"${PIPESTATUS[0]}\"");
  EXPECT_EQ(outcome.out, "141\n");
  ExpectNobodyListens(cli);
}

}  // namespace
}  // namespace tandem::node::testing

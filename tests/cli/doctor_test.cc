#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "rpc/base/unique_fd.h"
#include "tests/cli/cli.h"
#include "tests/support/child.h"
#include "tests/support/raw_socket.h"

namespace tandem::node::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

class DoctorTest : public ::testing::Test {
 protected:
  Outcome Examine(const std::string& path) {
    return cli_.Run({"doctor", "unix:" + path});
  }

  Cli cli_;
};

TEST_F(DoctorTest, FindsNothingWrongWithAPairThatRuns) {
  const auto up = cli_.Up();
  const Outcome outcome = cli_.Run({"doctor"});
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("app.sock"), HasSubstr("node.sock"),
                    HasSubstr("the lock is held by tandem-kvstore (pid "),
                    HasSubstr("it is tandem-node"), Not(HasSubstr("problem"))));
}

TEST_F(DoctorTest, IsNoRefusalToTheServerItLooksAt) {
  const auto up = cli_.Up();
  const std::string address = Cli::Ready(*up)["app"]["address"];
  const auto status = [&] {
    const auto objects = cli_.Run({"status", "--json", address}).Objects();
    return objects.size() == 1 ? objects[0] : nlohmann::json::object();
  };
  const auto before = status();
  ASSERT_EQ(cli_.Run({"doctor", address}).status, 0);
  const auto after = status();
  EXPECT_GT(after["server"]["unused_connections"],
            before["server"]["unused_connections"]);
  EXPECT_EQ(after["refusals"], before["refusals"]);
  EXPECT_EQ(after["refusals"]["left-early"], 0);
}

// Of each file below a directory what a write, a chmod or a new file in its
// place would change.
std::map<std::string, std::string> Look(const std::string& directory) {
  std::map<std::string, std::string> files;
  const auto look = [&files](const std::string& path) {
    struct stat seen;
    ASSERT_EQ(::lstat(path.c_str(), &seen), 0) << path;
    std::string& file = files[path];
    file = absl::StrCat(seen.st_ino, " ", seen.st_mode, " ", seen.st_uid, " ",
                        seen.st_gid, " ", seen.st_nlink, " ", seen.st_size, " ",
                        seen.st_mtim.tv_sec, ".", seen.st_mtim.tv_nsec, " ",
                        seen.st_ctim.tv_sec, ".", seen.st_ctim.tv_nsec);
  };
  look(directory);
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(directory)) {
    look(entry.path());
  }
  return files;
}

TEST_F(DoctorTest, ChangesNothing) {
  const std::string place = cli_.File("place");
  ASSERT_TRUE(std::filesystem::create_directory(place));
  const auto live = test::ListenAt(place + "/live.sock");
  test::BindTo(place + "/dead.sock").Reset();
  std::ofstream(place + "/.dead.sock.lock") << "4194304\n";
  test::BindTo(place + "/.s0123abcd").Reset();
  std::ofstream(place + "/file.sock") << "precious";
  std::filesystem::create_symlink("live.sock", place + "/link.sock");
  ASSERT_TRUE(std::filesystem::create_directory(place + "/open"));
  ASSERT_EQ(::chmod((place + "/open").c_str(), 0777), 0);
  const auto before = Look(place);
  EXPECT_EQ(cli_.Run({"doctor", place}).status, 1);
  for (const char* name : {"live.sock", "dead.sock", "file.sock", "link.sock",
                           "none.sock", "open/none.sock"}) {
    Examine(place + "/" + name);
  }
  EXPECT_EQ(Look(place), before);
}

TEST_F(DoctorTest, PrintsAnObjectPerSocket) {
  const auto up = cli_.Up();
  const auto objects = cli_.Run({"doctor", "--json"}).Objects();
  ASSERT_THAT(objects, SizeIs(2));
  EXPECT_EQ(objects[1]["address"], Cli::Ready(*up)["node"]["address"]);
  for (const auto& finding : objects[1]["findings"]) {
    EXPECT_NE(finding["kind"], "problem") << finding;
  }
}

TEST_F(DoctorTest, KnowsAFileThatADeadServerLeft) {
  const std::string path = cli_.File("kv.sock");
  test::BindTo(path).Reset();
  const Outcome outcome = Examine(path);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("nobody listens at " + path),
                    HasSubstr("mend: start the server: it takes the path")));
}

TEST_F(DoctorTest, KnowsWhatAServerLeftThatDiedAsItStarted) {
  const std::string path = cli_.File(".s0123abcd");
  test::BindTo(path).Reset();
  const Outcome outcome =
      cli_.Run({"doctor", std::filesystem::path(path).parent_path()});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr(absl::StrCat("mend: rm '", path, "'")));
}

TEST_F(DoctorTest, KnowsWhoHoldsTheLockOfASocketThatIsGone) {
  const std::string path = cli_.File("kv.sock");
  const rpc::UniqueFd lock(::open(cli_.File(".kv.sock.lock").c_str(),
                                  O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(lock.get(), LOCK_EX), 0);
  const Outcome outcome = Examine(path);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("the server has lost its name"),
                    HasSubstr(absl::StrCat("(pid ", ::getpid(), ")")),
                    HasSubstr("mend: restart that server")));
}

TEST_F(DoctorTest, KnowsWhatIsNoSocket) {
  const std::string path = cli_.File("kv.sock");
  std::ofstream(path) << "precious";
  const Outcome outcome = Examine(path);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr(path + " is not a socket"));
}

TEST_F(DoctorTest, KnowsThatNothingIsThere) {
  const Outcome outcome = Examine(cli_.File("kv.sock"));
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr("no server: there is no socket at "));
}

TEST_F(DoctorTest, ReadsNoLockInAFileThatHasOnlyItsEnding) {
  std::ofstream(cli_.File(".lock"));
  std::ofstream(cli_.File(".kv.sock.lock"));
  const Outcome outcome = cli_.Run({"doctor", cli_.File("")});
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("/kv.sock\n"), Not(HasSubstr("/lock"))));
}

TEST_F(DoctorTest, PrintsNoLineThatTheNameOfAFileMakesUp) {
  std::ofstream(cli_.File(".\033[2J\n    mend: do harm.lock"));
  const Outcome outcome = cli_.Run({"doctor", cli_.File("")});
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("\\x1b[2J\\x0a    mend: do harm"),
                                 Not(HasSubstr("\033")),
                                 Not(HasSubstr("\n    mend: do harm"))));
}

TEST_F(DoctorTest, KnowsThatTheDirectoryIsMissing) {
  const Outcome outcome = Examine(cli_.File("none") + "/kv.sock");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr(absl::StrCat("mend: mkdir -p -m 0700 '",
                                                  cli_.File("none"), "'")));
}

TEST_F(DoctorTest, KnowsADirectoryThatOthersMayWrite) {
  const std::string directory = cli_.File("shared");
  ASSERT_EQ(::mkdir(directory.c_str(), 0700), 0);
  ASSERT_EQ(::chmod(directory.c_str(), 0777), 0);
  const Outcome outcome = Examine(directory + "/kv.sock");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr(directory), HasSubstr("mode 0777")));
  // What it says does mend it.
  const Outcome mended =
      cli_.RunBash(absl::StrCat("\"$0\" doctor unix:", directory,
                                "/kv.sock | sed -n 's/^ *mend: chmod/chmod/p' "
                                "| bash; \"$0\" doctor unix:",
                                directory, "/kv.sock"));
  EXPECT_THAT(mended.out, AllOf(HasSubstr("nobody else can replace"),
                                Not(HasSubstr("mode 0777"))));
}

TEST_F(DoctorTest, KnowsADirectoryThatKeepsUsOut) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  const std::string directory = cli_.File("closed");
  ASSERT_EQ(::chmod(cli_.File("").c_str(), 0755), 0);
  ASSERT_EQ(::mkdir(directory.c_str(), 0700), 0);
  const rpc::UniqueFd server = test::ListenAt(directory + "/kv.sock", 0);
  const Outcome outcome = cli_.RunBash(absl::StrCat(
      "setpriv --reuid 20000 --clear-groups \"$0\" doctor unix:", directory,
      "/kv.sock"));
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("uid 20000 cannot look at "),
                    HasSubstr(absl::StrCat("chmod go+x '", directory, "'"))));
}

TEST_F(DoctorTest, KnowsADirectoryWhereWeMayMakeNoSocket) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  ASSERT_EQ(::chmod(cli_.File("").c_str(), 0755), 0);
  const std::string address = absl::StrCat("unix:", cli_.File("kv.sock"));
  const Outcome outcome = cli_.RunBash(absl::StrCat(
      "setpriv --reuid 20000 --clear-groups \"$0\" doctor ", address));
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("uid 20000 may not make one in "),
                                 HasSubstr("mend: start the server as root")));
}

TEST_F(DoctorTest, KnowsALockFileThatWeMayNotOpen) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  const std::string directory = cli_.File("theirs");
  ASSERT_EQ(::chmod(cli_.File("").c_str(), 0755), 0);
  ASSERT_EQ(::mkdir(directory.c_str(), 0755), 0);
  ASSERT_EQ(::chown(directory.c_str(), 20000, 20000), 0);
  const std::string lock = directory + "/.kv.sock.lock";
  ASSERT_TRUE(rpc::UniqueFd(::open(lock.c_str(), O_CREAT | O_CLOEXEC, 0600))
                  .is_valid());
  const Outcome outcome = cli_.RunBash(absl::StrCat(
      "setpriv --reuid 20000 --clear-groups \"$0\" doctor unix:", directory,
      "/kv.sock"));
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("a server of uid 20000 cannot start here"),
                    HasSubstr(absl::StrCat("rm '", lock, "'"))));
}

TEST_F(DoctorTest, FindsNothingWrongWithADirectoryOfTheServersUser) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  const std::string directory = cli_.File("theirs");
  const std::string path = directory + "/kv.sock";
  ASSERT_EQ(::mkdir(directory.c_str(), 0755), 0);
  ASSERT_EQ(::chown(directory.c_str(), 20000, 20000), 0);
  const rpc::UniqueFd server = test::BindTo(path);
  const auto listen_as = [&](uid_t uid) {
    return ::seteuid(uid) == 0 && ::listen(server.get(), 16) == 0 &&
           ::seteuid(0) == 0;
  };
  ASSERT_TRUE(listen_as(20000));
  EXPECT_THAT(Examine(path).out,
              AllOf(HasSubstr("note: uid 20000, whom the server runs as, can "
                              "replace what is in "),
                    Not(HasSubstr("in the socket's place"))));
  ASSERT_TRUE(listen_as(20001));
  EXPECT_THAT(Examine(path).out,
              HasSubstr("problem: the directory " + directory));
}

TEST_F(DoctorTest, KnowsAFileThatADeadServerOfAnotherUserLeft) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  const std::string path = cli_.File("kv.sock");
  test::BindTo(path).Reset();
  ASSERT_EQ(::chown(path.c_str(), 20000, 20000), 0);
  const Outcome outcome = Examine(path);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("refuses to start"),
                    HasSubstr(absl::StrCat("mend: rm '", path, "'"))));
}

TEST_F(DoctorTest, KnowsAServerThatTakesNoConnections) {
  const std::string path = cli_.File("kv.sock");
  const rpc::UniqueFd server = test::ListenAt(path, 0);
  const rpc::UniqueFd queued = test::ConnectTo(path);
  ASSERT_TRUE(queued.is_valid());
  const Outcome outcome = Examine(path);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr("its queue is full"));
}

TEST_F(DoctorTest, KnowsAServerThatSaysNothing) {
  const std::string path = cli_.File("kv.sock");
  const rpc::UniqueFd server = test::ListenAt(path, 0);
  ASSERT_EQ(::listen(server.get(), 16), 0);
  const Outcome outcome = Examine(path);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("holds no lock"),
                                 HasSubstr("did not answer Hello within"),
                                 HasSubstr("mend: it was stopped")));
}

TEST_F(DoctorTest, KnowsADirectoryThatKeepsThoseOutWhomTheModeInvites) {
  const std::string directory = cli_.File("closed");
  ASSERT_EQ(::mkdir(directory.c_str(), 0700), 0);
  const std::string path = directory + "/kv.sock";
  const rpc::UniqueFd server = test::ListenAt(path, 0);
  ASSERT_EQ(::chmod(path.c_str(), 0666), 0);
  const Outcome outcome = Examine(path);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("is for everybody, but the directory"),
                    HasSubstr("mend: chmod o+x '")));
}

TEST_F(DoctorTest, KnowsAPathThatIsTooLong) {
  const Outcome outcome = Examine("/" + std::string(120, 'x'));
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("107"), HasSubstr("mend: choose")));
}

}  // namespace
}  // namespace tandem::node::testing

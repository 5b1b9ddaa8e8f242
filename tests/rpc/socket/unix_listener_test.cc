#include "rpc/socket/unix_listener.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/socket/dial.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/child.h"
#include "tests/support/descriptors.h"
#include "tests/support/raw_socket.h"
#include "tests/support/user_namespace.h"

namespace tandem::rpc {
namespace {

namespace fs = std::filesystem;

using test::Become;
using test::CanBecomeOthers;
using test::Child;
using test::kForeignUid;
using test::kNeedsRoot;
using test::OpenDescriptors;
using test::Pipe;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::IsOkAndHolds;
using ::testing::Not;
using testing::StatusIs;
using testing::TempDir;

class UnixListenerTest : public ::testing::Test {
 protected:
  using Result = absl::StatusOr<std::unique_ptr<UnixListener>>;

  UnixAddress Address() const { return *UnixAddress::Parse(dir_.Address("s")); }
  std::string Path() const { return dir_.File("s"); }

  Result Listen(const SocketPermissions& permissions = {}) const {
    return UnixListener::Listen(Address(), permissions);
  }

  bool Connects() const {
    return Dial(Address(), ::geteuid(), absl::Now()).ok();
  }

  struct stat Stat() const {
    struct stat info {};
    EXPECT_EQ(::lstat(Path().c_str(), &info), 0);
    return info;
  }

  // All names in the directory, but for lock files.
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir_.path())) {
      const std::string name = entry.path().filename();
      if (!name.ends_with(".lock")) names.push_back(name);
    }
    return names;
  }

  // What other programs do: bind(2) to the path, and maybe listen(2).
  UniqueFd Bind(int type = SOCK_STREAM, int backlog = 8) const {
    UniqueFd fd = test::BindTo(Path(), type | SOCK_CLOEXEC);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(::listen(fd.get(), backlog), 0);
    }
    return fd;
  }

  // Listen() is refused so, and leaves the path exactly as it was.
  void ExpectRefused(absl::StatusCode code, const std::string& why) const {
    const ino_t inode = Stat().st_ino;
    const bool had_lock_file = fs::exists(dir_.File(".s.lock"));
    const auto descriptors = OpenDescriptors();
    EXPECT_THAT(Listen(),
                StatusIs(code, AllOf(HasSubstr(Path()), HasSubstr(why))));
    EXPECT_EQ(OpenDescriptors(), descriptors);
    EXPECT_EQ(Stat().st_ino, inode);
    EXPECT_EQ(Names(), std::vector<std::string>{"s"});
    EXPECT_EQ(fs::exists(dir_.File(".s.lock")), had_lock_file);
  }

  TempDir dir_;
};

TEST_F(UnixListenerTest, ClientsConnectOnceListenReturns) {
  const auto listener = Listen();
  ASSERT_THAT(listener, IsOk());
  EXPECT_TRUE(Connects());
  EXPECT_TRUE((*listener)->IsPublished());
}

TEST_F(UnixListenerTest, ThePathIsAllThatIsLeftInTheDirectory) {
  const auto listener = Listen();
  ASSERT_THAT(listener, IsOk());
  EXPECT_EQ(Names(), std::vector<std::string>{"s"});
}

TEST_F(UnixListenerTest, TheModeIsExactUnderEveryUmask) {
  const mode_t before = ::umask(0);
  for (const mode_t mask : {0, 022, 077, 0777}) {
    for (const mode_t mode : {0600, 0660, 0666, 0640, 0200, 0}) {
      ::umask(mask);
      const auto listener = Listen({.mode = mode});
      ASSERT_THAT(listener, IsOk());
      EXPECT_EQ(Stat().st_mode & 07777, mode) << "umask " << mask;
      EXPECT_EQ(::umask(mask), mask) << "Listen() changed the umask";
    }
  }
  ::umask(before);
}

TEST_F(UnixListenerTest, TheOwnerAndGroupAreThoseAskedFor) {
  if (!CanBecomeOthers()) GTEST_SKIP() << kNeedsRoot;
  const auto listener = Listen({.mode = 0660, .uid = 1234, .gid = 5678});
  ASSERT_THAT(listener, IsOk());
  EXPECT_EQ(Stat().st_uid, 1234u);
  EXPECT_EQ(Stat().st_gid, 5678u);
  EXPECT_EQ(Stat().st_mode & 07777, 0660u);
}

TEST_F(UnixListenerTest, AnOwnerThatIsNotOursToGiveIsRefused) {
  if (!CanBecomeOthers()) GTEST_SKIP() << kNeedsRoot;
  ASSERT_EQ(::chown(dir_.path().c_str(), kForeignUid, kForeignUid), 0);
  EXPECT_EQ(test::RunAs(kForeignUid,
                        [this] {
                          EXPECT_THAT(
                              Listen({.gid = 0}),
                              StatusIs(absl::StatusCode::kPermissionDenied,
                                       HasSubstr("owner or group")));
                          EXPECT_THAT(Names(), IsEmpty());
                          return HasFailure();
                        }),
            0);
}

TEST_F(UnixListenerTest, ModeBitsBeyondPermissionsAreRefused) {
  EXPECT_THAT(Listen({.mode = 04600}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("04600")));
}

TEST_F(UnixListenerTest, CloseRemovesTheNameAndKeepsTheLockFile) {
  auto listener = Listen();
  ASSERT_THAT(listener, IsOk());
  (*listener)->Close();
  EXPECT_FALSE((*listener)->IsPublished());
  EXPECT_EQ((*listener)->fd(), -1);
  EXPECT_FALSE(fs::exists(Path()));
  EXPECT_TRUE(fs::exists(dir_.File(".s.lock")));
}

TEST_F(UnixListenerTest, TheLockIsHeldUntilTheListenerIsGone) {
  auto listener = Listen();
  ASSERT_THAT(listener, IsOk());
  (*listener)->Close();
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kAlreadyExists));
  listener->reset();
  EXPECT_THAT(Listen(), IsOk());
}

TEST_F(UnixListenerTest, DescriptorsAreBackToBase) {
  const auto before = OpenDescriptors();
  ASSERT_THAT(Listen(), IsOk());
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST_F(UnixListenerTest, ASocketThatReplacedOursIsNotRemoved) {
  auto listener = Listen();
  ASSERT_THAT(listener, IsOk());
  fs::remove(Path());
  EXPECT_FALSE((*listener)->IsPublished());
  const UniqueFd other = Bind();
  EXPECT_FALSE((*listener)->IsPublished());
  listener->reset();
  EXPECT_TRUE(Connects()) << "the other's";
}

TEST_F(UnixListenerTest, TheDirectoryMayBeRenamedMeanwhile) {
  fs::create_directory(dir_.File("a"));
  auto listener =
      UnixListener::Listen(*UnixAddress::Parse(dir_.Address("a/s")));
  ASSERT_THAT(listener, IsOk());
  fs::rename(dir_.File("a"), dir_.File("b"));
  EXPECT_TRUE((*listener)->IsPublished());
  listener->reset();
  EXPECT_FALSE(fs::exists(dir_.File("b/s")));
}

TEST_F(UnixListenerTest, APathOf107BytesWorks) {
  const std::string name(kMaxSocketPathBytes - dir_.path().size() - 1, 'x');
  const auto address = UnixAddress::Parse(dir_.Address(name));
  ASSERT_THAT(address, IsOk());
  const auto listener = UnixListener::Listen(*address);
  ASSERT_THAT(listener, IsOk());
  EXPECT_THAT(Dial(*address, ::geteuid(), absl::Now()), IsOk());
}

TEST_F(UnixListenerTest, AShortNameInALongDirectoryWorks) {
  const std::string directory(kMaxSocketPathBytes - dir_.path().size() - 3,
                              'x');
  fs::create_directory(dir_.File(directory));
  const auto address = UnixAddress::Parse(dir_.Address(directory + "/s"));
  ASSERT_THAT(address, IsOk());
  ASSERT_EQ(address->path().size(), kMaxSocketPathBytes);
  const auto listener = UnixListener::Listen(*address);
  ASSERT_THAT(listener, IsOk());
  EXPECT_THAT(Dial(*address, ::geteuid(), absl::Now()), IsOk());
}

// The refusals.

TEST_F(UnixListenerTest, ASecondServerIsToldThePidOfTheFirst) {
  const auto first = Listen();
  ASSERT_THAT(first, IsOk());
  ExpectRefused(absl::StatusCode::kAlreadyExists,
                absl::StrCat("pid ", ::getpid()));
  EXPECT_TRUE(Connects());
}

TEST_F(UnixListenerTest, ALiveServerWithoutALockFileIsLeftAlone) {
  const UniqueFd other = Bind();
  ExpectRefused(absl::StatusCode::kAlreadyExists, "another server");
  EXPECT_TRUE(Connects());
}

TEST_F(UnixListenerTest, AServerWithAFullQueueIsAlive) {
  const UniqueFd other = Bind(SOCK_STREAM, 0);
  std::vector<UniqueFd> clients;
  while (true) {
    auto client = Dial(Address(), ::geteuid(), absl::InfinitePast());
    if (!client.ok()) break;
    clients.push_back(*std::move(client));
  }
  ASSERT_THAT(clients, Not(IsEmpty()));
  ExpectRefused(absl::StatusCode::kAlreadyExists, "another server");
}

TEST_F(UnixListenerTest, AFileIsLeftAlone) {
  std::ofstream(Path()) << "data";
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "not a socket");
}

TEST_F(UnixListenerTest, ADirectoryIsLeftAlone) {
  fs::create_directory(Path());
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "not a socket");
}

TEST_F(UnixListenerTest, APipeIsLeftAlone) {
  ASSERT_EQ(::mkfifo(Path().c_str(), 0600), 0);
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "not a socket");
}

TEST_F(UnixListenerTest, ADeadServersSocketOfAThirdIsLeftAlone) {
  if (!CanBecomeOthers()) GTEST_SKIP() << kNeedsRoot;
  Bind();
  ASSERT_EQ(::chown(Path().c_str(), kForeignUid, kForeignUid), 0);
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "another user");
  EXPECT_THAT(Listen({.uid = kForeignUid}), IsOk())
      << "made by us, and given away as it is now";
}

// In a namespace where everybody who has no number there looks like us. The
// directory is root's, whom the namespace has.
TEST_F(UnixListenerTest, WhatTheUnmappedLeftIsLeftAloneThoughItLooksLikeOurs) {
  if (!test::CanMakeUserNamespaces()) {
    GTEST_SKIP() << test::kNeedsUserNamespaces;
  }
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  constexpr uid_t kNobody = 65534;
  const auto expect_refused = [&](const auto& how) {
    EXPECT_EQ(test::RunInside({{kNobody, kForeignUid}, {0, 0}}, kNobody,
                              [&] {
                                EXPECT_THAT(Listen({.uid = kNobody}), how);
                                return HasFailure();
                              }),
              0);
  };
  const auto because = [](const std::string& why) {
    return StatusIs(absl::StatusCode::kFailedPrecondition,
                    AllOf(HasSubstr(why), HasSubstr("an unmapped uid")));
  };
  ASSERT_EQ(::chmod(dir_.path().c_str(), 01777), 0);
  Bind();
  ASSERT_EQ(::chmod(Path().c_str(), 0666), 0);
  ASSERT_EQ(::chown(Path().c_str(), kForeignUid + 1, 0), 0);
  expect_refused(because("a socket of another user"));
  EXPECT_TRUE(fs::is_socket(Path()));
  fs::remove(Path());
  const std::string lock = dir_.File(".s.lock");
  std::ofstream(lock) << "";
  ASSERT_EQ(::chmod(lock.c_str(), 0666), 0);
  ASSERT_EQ(::chown(lock.c_str(), kForeignUid + 1, 0), 0);
  // The kernel itself may refuse to open it (fs.protected_regular).
  expect_refused(AnyOf(because("was not made by us"),
                       StatusIs(absl::StatusCode::kPermissionDenied)));
  fs::remove(lock);
  ASSERT_EQ(::chown(dir_.path().c_str(), kForeignUid + 1, 0), 0);
  expect_refused(because("lets others put something else"));
}

TEST_F(UnixListenerTest, ALinkIsLeftAlone) {
  fs::create_symlink("/nowhere", Path());
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "not a socket");
}

TEST_F(UnixListenerTest, ALinkToALiveSocketIsLeftAlone) {
  const auto address = UnixAddress::Parse(dir_.Address("real"));
  const auto real = UnixListener::Listen(*address);
  ASSERT_THAT(real, IsOk());
  fs::create_symlink(dir_.File("real"), Path());
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_TRUE(fs::is_symlink(Path()));
  EXPECT_THAT(Dial(*address, ::geteuid(), absl::Now()), IsOk());
}

// Somebody who does not know the lock, at any moment of Listen().
TEST_F(UnixListenerTest, AFileThatAppearsWhileWeStartIsLeftAlone) {
  for (int round = 0; round < 300; ++round) {
    std::atomic<bool> started = false;
    bool other_won = false;
    std::thread other([&] {
      while (!started) continue;
      for (int i = 0; i < round * 10; ++i) started.load();
      other_won =
          UniqueFd(::open(Path().c_str(),
                          O_CREAT | O_EXCL | O_CLOEXEC | O_WRONLY, 0600))
              .is_valid();
    });
    started = true;
    const bool listener_won = Listen().ok();
    other.join();
    ASSERT_FALSE(other_won && listener_won && !fs::exists(Path()))
        << "replaced in round " << round;
    fs::remove(Path());
  }
}

TEST_F(UnixListenerTest, ASocketOfUnknownStateIsLeftAlone) {
  const UniqueFd other = Bind(SOCK_DGRAM);
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "unknown");
}

TEST_F(UnixListenerTest, ADirectoryThatOthersMayWriteIsRefused) {
  for (const mode_t mode : {0777, 0770, 0707, 0720}) {
    ASSERT_EQ(::chmod(dir_.path().c_str(), mode), 0);
    EXPECT_THAT(Listen(),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr(dir_.path()),
                               HasSubstr(absl::StrFormat("mode %04o", mode)))));
  }
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(UnixListenerTest, ASharedDirectoryIsTakenWithAReason) {
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0777), 0);
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("--allow-shared-directory")));
  const auto listener = UnixListener::Listen(Address(), {}, "all are friends");
  ASSERT_THAT(listener, IsOk());
  EXPECT_THAT(Dial(Address(), ::geteuid(), absl::Now(), "all are friends"),
              IsOk());
}

TEST_F(UnixListenerTest, ADirectoryBelowOneThatOthersMayWriteIsRefused) {
  fs::create_directories(dir_.File("a/b"));
  ASSERT_EQ(::chmod(dir_.File("a").c_str(), 0777), 0);
  EXPECT_THAT(
      UnixListener::Listen(*UnixAddress::Parse(dir_.Address("a/b/s"))),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr(dir_.File("a") + " "), HasSubstr("mode 0777"))));
  EXPECT_TRUE(fs::is_empty(dir_.File("a/b")));
}

TEST_F(UnixListenerTest, AStickyDirectoryIsGoodEnough) {
  ASSERT_EQ(::chmod(dir_.path().c_str(), 01777), 0);
  EXPECT_THAT(Listen(), IsOk());
}

TEST_F(UnixListenerTest, ADirectoryOfAnotherUserIsRefused) {
  if (!CanBecomeOthers()) GTEST_SKIP() << kNeedsRoot;
  ASSERT_EQ(::chown(dir_.path().c_str(), kForeignUid, kForeignUid), 0);
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("uid 54321")));
}

TEST_F(UnixListenerTest, ADirectoryThatIsNotOursToWriteIsRefused) {
  if (!CanBecomeOthers()) GTEST_SKIP() << kNeedsRoot;
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  EXPECT_EQ(
      test::RunAs(kForeignUid,
                  [this] {
                    EXPECT_THAT(
                        Listen(),
                        StatusIs(absl::StatusCode::kPermissionDenied,
                                 AllOf(HasSubstr(dir_.path()),
                                       HasSubstr("must be ours to write"))));
                    return HasFailure();
                  }),
      0);
}

TEST_F(UnixListenerTest, AMissingDirectoryIsNamed) {
  EXPECT_THAT(
      UnixListener::Listen(*UnixAddress::Parse(dir_.Address("no/s"))),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr(dir_.File("no"))));
}

TEST_F(UnixListenerTest, AFileInPlaceOfTheDirectoryIsRefused) {
  std::ofstream(dir_.File("file")) << "x";
  EXPECT_THAT(UnixListener::Listen(*UnixAddress::Parse(dir_.Address("file/s"))),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(UnixListenerTest, ALockFileOfAnotherUserInAStickyDirectoryIsRefused) {
  if (!CanBecomeOthers()) GTEST_SKIP() << kNeedsRoot;
  ASSERT_EQ(::chmod(dir_.path().c_str(), 01777), 0);
  std::ofstream(dir_.File(".s.lock")) << "";
  ASSERT_EQ(::chown(dir_.File(".s.lock").c_str(), kForeignUid, kForeignUid), 0);
  EXPECT_THAT(Listen(), Not(IsOk()));
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(UnixListenerTest, ALockFileThatIsALinkIsRefused) {
  fs::create_symlink(dir_.File("target"), dir_.File(".s.lock"));
  EXPECT_THAT(Listen(), Not(IsOk()));
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(UnixListenerTest, AFileOfOursThatIsNamedAsTheLockIsNotOverwritten) {
  std::ofstream(dir_.File("precious")) << "data";
  fs::create_hard_link(dir_.File("precious"), dir_.File(".s.lock"));
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("not made by us")));
  EXPECT_EQ(fs::file_size(dir_.File("precious")), 4u);
}

TEST_F(UnixListenerTest, ALockFileThatIsAPipeIsRefused) {
  ASSERT_EQ(::mkfifo(dir_.File(".s.lock").c_str(), 0600), 0);
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("not made by us")));
}

TEST_F(UnixListenerTest, ALockThatSomebodyElseHoldsCountsWithoutASocket) {
  const UniqueFd lock(
      ::open(dir_.File(".s.lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(lock.get(), LOCK_EX), 0);
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kAlreadyExists,
                                 HasSubstr("another server runs there")));
}

// Processes that die.

// A fork without exec has the lock and the socket too.
TEST_F(UnixListenerTest, AForkedChildDoesNotKeepThePathOfAServerThatStopped) {
  auto listener = Listen();
  ASSERT_THAT(listener, IsOk());
  Pipe finish;
  Child child([&] {
    finish.WaitClosed();
    return 0;
  });
  listener->reset();
  EXPECT_THAT(Listen(), IsOk());
  finish.Close();
  EXPECT_EQ(child.Wait(), 0);
}

TEST_F(UnixListenerTest, AForkedChildThatDestroysTheListenerTakesNothingAway) {
  auto listener = Listen();
  ASSERT_THAT(listener, IsOk());
  EXPECT_EQ(Child([&] {
              listener->reset();
              return 0;
            }).Wait(),
            0);
  EXPECT_TRUE((*listener)->IsPublished());
  ExpectRefused(absl::StatusCode::kAlreadyExists, "it holds the lock file");
}

TEST_F(UnixListenerTest, AChildOfAKilledServerIsBlamedForTheLock) {
  Pipe ready;
  Pipe finish;
  Child server([&] {
    const auto listener = Listen();
    if (::fork() == 0) {
      finish.WaitClosed();
      ::_exit(0);
    }
    ready.Write(listener.ok() ? 'y' : 'n');
    ::pause();
    return 0;
  });
  ASSERT_EQ(ready.Read(), 'y');
  const pid_t pid = server.pid();
  server.Kill();
  ExpectRefused(absl::StatusCode::kAlreadyExists,
                absl::StrCat("pid ", pid, ", which is gone"));
  finish.Close();
  while (true) {
    const auto listener = Listen();
    if (listener.ok()) break;
    ASSERT_THAT(listener, StatusIs(absl::StatusCode::kAlreadyExists));
  }
}

TEST_F(UnixListenerTest, NothingLeaksIntoAProgramThatWeStart) {
  const auto listener = Listen();
  ASSERT_THAT(listener, IsOk());
  FILE* listing = ::popen("ls -l /proc/self/fd", "re");
  ASSERT_NE(listing, nullptr);
  std::string text(1 << 16, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), listing));
  ::pclose(listing);
  EXPECT_THAT(text, Not(HasSubstr(dir_.path())));
  const std::string ours = OpenDescriptors()[(*listener)->fd()];
  EXPECT_THAT(ours, HasSubstr("socket:["));
  EXPECT_THAT(text, Not(HasSubstr(ours)));
}

TEST(GroupByNameTest, KnowsNamesAndNumbers) {
  EXPECT_THAT(GroupByName("root"), IsOkAndHolds(0u));
  EXPECT_THAT(GroupByName("1234"), IsOkAndHolds(1234u));
  EXPECT_THAT(
      GroupByName("no-such-group"),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("no-such-group")));
  EXPECT_THAT(GroupByName("4294967294"), IsOkAndHolds(4294967294u));
  EXPECT_THAT(GroupByName("4294967295"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(GroupByName(""), StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace tandem::rpc

#include "rpc/socket/dial.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/socket/diagnosis.h"
#include "rpc/socket/unix_listener.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/child.h"
#include "tests/support/descriptors.h"
#include "tests/support/user_namespace.h"

namespace tandem::rpc {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

class DialTest : public ::testing::Test {
 protected:
  UnixAddress Address() const { return *UnixAddress::Parse(dir_.Address("s")); }
  absl::StatusOr<UniqueFd> DialNow() const {
    return Dial(Address(), ::geteuid(), absl::InfinitePast());
  }
  void ExpectError(absl::StatusCode code, const std::string& why) const {
    const auto before = test::OpenDescriptors();
    EXPECT_THAT(DialNow(), StatusIs(code, AllOf(HasSubstr(dir_.File("s")),
                                                HasSubstr(why))));
    EXPECT_EQ(test::OpenDescriptors(), before);
  }

  testing::TempDir dir_;
};

TEST_F(DialTest, ConnectsWithADescriptorThatDoesNotBlockNorLeak) {
  const auto listener = UnixListener::Listen(Address());
  ASSERT_THAT(listener, IsOk());
  const auto fd = DialNow();
  ASSERT_THAT(fd, IsOk());
  EXPECT_TRUE(::fcntl(fd->get(), F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(DialTest, NoFileMeansThatTheServerIsNotThere) {
  ExpectError(absl::StatusCode::kUnavailable, "is the server running?");
}

TEST_F(DialTest, AFileWithoutAServerIsStale) {
  {
    auto listener = UnixListener::Listen(Address());
    ASSERT_THAT(listener, IsOk());
    fs::rename(dir_.File("s"), dir_.File("t"));
    (*listener)->Close();
  }
  fs::rename(dir_.File("t"), dir_.File("s"));
  ExpectError(absl::StatusCode::kUnavailable, "nobody listens");
}

// connect(2) may find the socket, and be refused because it is closed, just
// before the path is gone.
TEST_F(DialTest, AServerThatComesAndGoesIsAtWorstUnavailable) {
  std::atomic<bool> is_over{false};
  std::thread server([&] {
    while (!is_over) EXPECT_THAT(UnixListener::Listen(Address()), IsOk());
  });
  for (int i = 0; i < 5000; ++i) {
    const auto code = DialNow().status().code();
    EXPECT_TRUE(code == absl::StatusCode::kOk ||
                code == absl::StatusCode::kUnavailable)
        << code;
  }
  is_over = true;
  server.join();
}

TEST_F(DialTest, WhatIsNoSocketIsSaidSo) {
  std::ofstream(dir_.File("s")) << "x";
  ExpectError(absl::StatusCode::kFailedPrecondition, "not a server's socket");
}

TEST_F(DialTest, AFileOnTheWayIsSaidSo) {
  std::ofstream(dir_.File("file")) << "x";
  EXPECT_THAT(Dial(*UnixAddress::Parse(dir_.Address("file/s")), ::geteuid(),
                   absl::Now()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(DialTest, ALoopOfLinksIsSaidSo) {
  fs::create_symlink("s", dir_.File("loop"));
  fs::create_symlink("loop", dir_.File("s"));
  EXPECT_THAT(DialNow(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(DialTest, AFileThatIsNotOpenToUsIsPermissionDenied) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
  const auto listener = UnixListener::Listen(Address(), {.mode = 0600});
  ASSERT_THAT(listener, IsOk());
  EXPECT_EQ(test::RunAs(test::kForeignUid,
                        [this] {
                          ExpectError(absl::StatusCode::kPermissionDenied,
                                      "we may not connect");
                          return HasFailure();
                        }),
            0);
}

TEST_F(DialTest, AServerOfAnotherUidGetsNoByte) {
  const auto listener = UnixListener::Listen(Address());
  ASSERT_THAT(listener, IsOk());
  const auto before = test::OpenDescriptors();
  EXPECT_THAT(
      Dial(Address(), ::geteuid() + 1, absl::Now()),
      StatusIs(absl::StatusCode::kPermissionDenied,
               AllOf(HasSubstr(absl::StrCat("runs as uid ", ::geteuid())),
                     HasSubstr(absl::StrCat("not as uid ", ::geteuid() + 1)))));
  EXPECT_EQ(test::OpenDescriptors(), before);
  const UniqueFd accepted(
      ::accept4((*listener)->fd(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(accepted.is_valid());
  char byte;
  EXPECT_EQ(::recv(accepted.get(), &byte, 1, 0), 0) << "closed, nothing sent";
}

TEST_F(DialTest, AnImpostorThatTookThePathIsFoundOut) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  ASSERT_EQ(::chown(dir_.path().c_str(), test::kForeignUid, 0), 0);
  test::Pipe ready;
  test::Child impostor([&] {
    if (!test::Become(test::kForeignUid)) return 1;
    const auto listener = UnixListener::Listen(Address(), {.mode = 0666});
    ready.Write(listener.ok() ? 'y' : 'n');
    ::pause();
    return 0;
  });
  ASSERT_EQ(ready.Read(), 'y');
  ExpectError(absl::StatusCode::kPermissionDenied, "runs as uid 54321");
}

// Even where the kernel says that the server is the right one: it might be
// another server of that user, to which somebody leads us.
TEST_F(DialTest, ASocketThatOthersCouldReplaceIsSentNothing) {
  const auto listener = UnixListener::Listen(Address());
  ASSERT_THAT(listener, IsOk());
  for (const mode_t shared : {0770, 0707}) {
    ASSERT_EQ(::chmod(dir_.path().c_str(), shared), 0);
    ExpectError(absl::StatusCode::kPermissionDenied, "nothing was sent");
    EXPECT_THAT(Dial(Address(), ::geteuid(), absl::InfinitePast(), "a test"),
                IsOk());
  }
  ASSERT_EQ(::chmod(dir_.path().c_str(), 01777), 0);
  EXPECT_THAT(DialNow(), IsOk());
}

TEST_F(DialTest, ASocketOfAThirdInASharedDirectoryIsSentNothing) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  const auto listener =
      UnixListener::Listen(Address(), {.uid = test::kForeignUid});
  ASSERT_THAT(listener, IsOk());
  // Nobody but us could replace it.
  EXPECT_THAT(DialNow(), IsOk());
  ASSERT_EQ(::chmod(dir_.path().c_str(), 01777), 0);
  ExpectError(absl::StatusCode::kPermissionDenied, "belongs to uid 54321");
}

TEST_F(DialTest, ADirectoryOfTheServersUserIsGoodEnough) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  ASSERT_EQ(::chown(dir_.path().c_str(), test::kForeignUid, 0), 0);
  test::Pipe ready;
  test::Child server([&] {
    if (!test::Become(test::kForeignUid)) return 1;
    const auto listener = UnixListener::Listen(Address());
    ready.Write(listener.ok() ? 'y' : 'n');
    ::pause();
    return 0;
  });
  ASSERT_EQ(ready.Read(), 'y');
  EXPECT_THAT(Dial(Address(), test::kForeignUid, absl::Now()), IsOk());
  // A third's is not.
  ASSERT_EQ(::chown(dir_.path().c_str(), test::kForeignUid + 1, 0), 0);
  EXPECT_THAT(Dial(Address(), test::kForeignUid, absl::Now()),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("nothing was sent")));
}

// In a namespace where everybody who has no number there looks like us. The
// server is a process of its own, so that this one asks about no uid before its
// children do, elsewhere.
class DialInsideTest : public DialTest {
 protected:
  static constexpr uid_t kNobody = 65534;

  void SetUp() override {
    if (!test::CanMakeUserNamespaces()) {
      GTEST_SKIP() << test::kNeedsUserNamespaces;
    }
    if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  }

  // Root's, with this socket file. Says 'z' once its first client has left
  // without a word.
  void Serve(const SocketPermissions& permissions) {
    server_ = std::make_unique<test::Child>([=, this] {
      const auto listener = UnixListener::Listen(Address(), permissions);
      if (!listener.ok()) return 1;
      ready_.Write('y');
      pollfd poll_fd{(*listener)->fd(), POLLIN, 0};
      ::poll(&poll_fd, 1, -1);
      const UniqueFd accepted(
          ::accept4((*listener)->fd(), nullptr, nullptr, SOCK_CLOEXEC));
      char byte;
      if (::recv(accepted.get(), &byte, 1, 0) != 0) return 2;
      ready_.Write('z');
      ::pause();
      return 0;
    });
    ASSERT_EQ(ready_.Read(), 'y');
  }

  // What Dial() says where we are called 65534, and `others` are there, too.
  absl::StatusCode DialInside(std::vector<test::MappedId> others, uid_t server,
                              const std::string& why = "") {
    others.push_back({kNobody, test::kForeignUid});
    return static_cast<absl::StatusCode>(test::RunInside(others, kNobody, [&] {
      const auto fd = Dial(Address(), server, absl::Now());
      EXPECT_THAT(fd.status().message(), HasSubstr(why));
      return HasFailure() ? 99 : static_cast<int>(fd.status().code());
    }));
  }

  test::Pipe ready_;
  std::unique_ptr<test::Child> server_;
};

TEST_F(DialInsideTest, AnUnmappedServerIsNotOursThoughItLooksSo) {
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
  Serve({.mode = 0666});
  EXPECT_EQ(DialInside({}, kNobody, "runs as an unmapped uid"),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ready_.Read(), 'z') << "closed, nothing sent";
}

TEST_F(DialInsideTest, TheDoctorSaysThatAnUnmappedServerIsRefused) {
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
  Serve({.mode = 0666});
  EXPECT_EQ(
      test::RunInside(
          {{kNobody, test::kForeignUid}}, kNobody,
          [&] {
            const Diagnosis found = Diagnose(Address());
            EXPECT_FALSE(found.server_uid);
            EXPECT_THAT(
                found.findings,
                Contains(AllOf(Field(&Finding::kind, Finding::Kind::kProblem),
                               Field(&Finding::what,
                                     HasSubstr("no number for the user")))));
            return HasFailure();
          }),
      0);
}

TEST_F(DialInsideTest, ASocketOfTheUnmappedInASharedDirectoryIsSentNothing) {
  ASSERT_EQ(::chmod(dir_.path().c_str(), 01777), 0);
  Serve({.mode = 0666, .uid = test::kForeignUid + 1});
  const std::vector<test::MappedId> root = {{0, 0}};
  EXPECT_EQ(DialInside(root, 0, "belongs to an unmapped uid"),
            absl::StatusCode::kPermissionDenied);
  ASSERT_EQ(::chown(dir_.File("s").c_str(), test::kForeignUid, 0), 0);
  EXPECT_EQ(DialInside(root, 0, "belongs to an unmapped uid"),
            absl::StatusCode::kPermissionDenied)
      << "we ourselves cannot be told from them";
  ASSERT_EQ(::chown(dir_.File("s").c_str(), 0, 0), 0);
  EXPECT_EQ(DialInside(root, 0), absl::StatusCode::kOk);
}

TEST_F(DialTest, ALinkToAServerIsNotFollowed) {
  const auto listener =
      UnixListener::Listen(*UnixAddress::Parse(dir_.Address("t")));
  ASSERT_THAT(listener, IsOk());
  fs::create_symlink("t", dir_.File("s"));
  ExpectError(absl::StatusCode::kFailedPrecondition, "is a link");
}

class FullQueueTest : public DialTest {
 protected:
  void SetUp() override {
    auto listener = UnixListener::Listen(Address());
    ASSERT_THAT(listener, IsOk());
    listener_ = *std::move(listener);
    ASSERT_EQ(::listen(listener_->fd(), 0), 0);
    while (true) {
      auto client = DialNow();
      if (!client.ok()) break;
      clients_.push_back(*std::move(client));
    }
    ASSERT_FALSE(clients_.empty());
  }

  std::unique_ptr<UnixListener> listener_;
  std::vector<UniqueFd> clients_;
};

TEST_F(FullQueueTest, IsUnavailableOnceTheDeadlineHasPassed) {
  ExpectError(absl::StatusCode::kUnavailable, "queue is full");
  EXPECT_THAT(
      Dial(Address(), ::geteuid(), absl::Now() + absl::Milliseconds(30)),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("queue is full")));
}

TEST_F(FullQueueTest, IsTriedAgainUntilThereIsRoom) {
  std::thread server([this] {
    absl::SleepFor(absl::Milliseconds(20));
    UniqueFd accepted(
        ::accept4(listener_->fd(), nullptr, nullptr, SOCK_CLOEXEC));
  });
  EXPECT_THAT(Dial(Address(), ::geteuid(), absl::Now() + absl::Seconds(30)),
              IsOk());
  server.join();
}

TEST_F(DialTest, RunningOutOfDescriptorsIsOurOwnTrouble) {
  const auto listener = UnixListener::Listen(Address());
  ASSERT_THAT(listener, IsOk());
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto fd = DialNow();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(fd, StatusIs(absl::StatusCode::kResourceExhausted));
}

}  // namespace
}  // namespace tandem::rpc

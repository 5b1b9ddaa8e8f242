#include "rpc/socket/handed_in_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/socket/dial.h"
#include "rpc/socket/peer_credentials.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/child.h"

namespace tandem::rpc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

// As a giver makes it, and without CLOEXEC.
UniqueFd Socket(int type = SOCK_STREAM) {
  return UniqueFd(::socket(AF_UNIX, type, 0));
}

void Bind(const UniqueFd& fd, const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address),
                   offsetof(sockaddr_un, sun_path) + name.size()),
            0);
}

std::string AddressOf(const UniqueFd& fd) {
  return absl::StrCat("fd:", fd.get());
}

class HandedInSocketTest : public ::testing::Test {
 protected:
  UniqueFd Listening() const {
    UniqueFd fd = Socket();
    Bind(fd, dir_.File("s"));
    EXPECT_EQ(::listen(fd.get(), 1), 0);
    return fd;
  }

  // It stays open, and inherited.
  void ExpectRefused(const UniqueFd& fd, absl::StatusCode code,
                     const std::string& why) const {
    EXPECT_THAT(
        TakeHandedInSocket(AddressOf(fd)),
        StatusIs(code, AllOf(HasSubstr(AddressOf(fd)), HasSubstr(why))));
    EXPECT_EQ(::fcntl(fd.get(), F_GETFD), 0);
  }

  testing::TempDir dir_;
};

TEST_F(HandedInSocketTest, AddressesAreTold) {
  for (const char* address :
       {"fd:3", "fd:", "fd:x", "systemd:", "systemd:kv"}) {
    EXPECT_TRUE(IsHandedIn(address)) << address;
  }
  for (const char* address : {"", "3", "unix:fd:3", "FD:3", "systemd"}) {
    EXPECT_FALSE(IsHandedIn(address)) << address;
  }
}

TEST_F(HandedInSocketTest, OneThatListensIsServedAtItsPath) {
  UniqueFd given = Listening();
  const auto taken = TakeHandedInSocket(AddressOf(given));
  ASSERT_THAT(taken, IsOk());
  EXPECT_EQ(taken->fd.get(), given.Release());
  EXPECT_TRUE(taken->is_listening);
  EXPECT_EQ(taken->address, dir_.Address("s"));
  EXPECT_TRUE(::fcntl(taken->fd.get(), F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(::fcntl(taken->fd.get(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(HandedInSocketTest, ClientsSeeUsRatherThanTheGiver) {
  const UniqueFd given = Listening();
  test::Pipe ready;
  test::Child server([&] {
    const auto taken = TakeHandedInSocket(AddressOf(given));
    ready.Write(taken.ok() ? 'y' : 'n');
    ::pause();
    return 0;
  });
  ASSERT_EQ(ready.Read(), 'y');
  const auto client =
      Dial(*UnixAddress::Parse(dir_.Address("s")), ::geteuid(), absl::Now());
  ASSERT_THAT(client, IsOk());
  EXPECT_EQ(PeerCredentialsOf(client->get())->pid, server.pid());
}

TEST_F(HandedInSocketTest, APathThatLeadsNowhereIsNotToldToClients) {
  UniqueFd given = Listening();
  std::filesystem::rename(dir_.File("s"), dir_.File("t"));
  std::ofstream(dir_.File("s")) << "no socket";
  const auto taken = TakeHandedInSocket(AddressOf(given));
  ASSERT_THAT(taken, IsOk());
  EXPECT_EQ(taken->address, absl::StrCat("fd:", given.Release()));
}

TEST_F(HandedInSocketTest, APathThatIsGoneIsNotToldEither) {
  UniqueFd given = Listening();
  std::filesystem::remove(dir_.File("s"));
  const auto taken = TakeHandedInSocket(AddressOf(given));
  ASSERT_THAT(taken, IsOk());
  EXPECT_EQ(taken->address, absl::StrCat("fd:", given.Release()));
}

TEST_F(HandedInSocketTest, AConnectionIsTakenAsOne) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const UniqueFd other(pair[1]);
  const std::string address = absl::StrCat("fd:", pair[0]);
  const auto taken = TakeHandedInSocket(address);
  ASSERT_THAT(taken, IsOk());
  EXPECT_FALSE(taken->is_listening);
  EXPECT_EQ(taken->address, address);
  EXPECT_TRUE(::fcntl(taken->fd.get(), F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(::fcntl(taken->fd.get(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(HandedInSocketTest, WhatIsNoNumberIsRefused) {
  for (const char* address :
       {"fd:", "fd:x", "fd:-1", "fd:+3", "fd: 3", "fd:3 ", "fd:03", "fd:0x3",
        "fd:99999999999999999999", "fd", "unix:/x"}) {
    EXPECT_THAT(
        TakeHandedInSocket(address),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(address)));
  }
}

TEST_F(HandedInSocketTest, ADescriptorThatIsNotOpenIsRefused) {
  EXPECT_THAT(
      TakeHandedInSocket("fd:987654"),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("987654 is not open")));
}

TEST_F(HandedInSocketTest, WhatIsNoUnixStreamSocketIsRefused) {
  const auto code = absl::StatusCode::kFailedPrecondition;
  ExpectRefused(UniqueFd(::open("/dev/null", O_RDONLY)), code,
                "not a unix stream socket");
  ExpectRefused(Socket(SOCK_DGRAM), code, "not a unix stream socket");
  ExpectRefused(Socket(SOCK_SEQPACKET), code, "not a unix stream socket");
  const UniqueFd tcp(::socket(AF_INET, SOCK_STREAM, 0));
  if (tcp.is_valid()) ExpectRefused(tcp, code, "not a unix stream socket");
}

TEST_F(HandedInSocketTest, OneThatNeitherListensNorIsConnectedIsRefused) {
  const UniqueFd fd = Socket();
  Bind(fd, dir_.File("s"));
  ExpectRefused(fd, absl::StatusCode::kFailedPrecondition, "neither listens");
}

TEST_F(HandedInSocketTest, AnAbstractNameIsRefused) {
  const UniqueFd fd = Socket();
  Bind(fd, std::string("\0tandem-", 8) + std::to_string(::getpid()));
  ASSERT_EQ(::listen(fd.get(), 1), 0);
  ExpectRefused(fd, absl::StatusCode::kFailedPrecondition, "abstract");
}

// What a process finds that systemd starts.
class SystemdTest : public HandedInSocketTest {
 protected:
  struct Given {
    int listening = 1;
    // Unset: this process's.
    std::string pid = {};
    std::string count = {};
    std::string names = {};
  };

  // `body` in a process with such variables, whose descriptors from 3 on are
  // sockets at the paths 3, 4, ...
  void Activate(const Given& given, const std::function<void()>& body) const {
    EXPECT_EQ(test::Child([&] {
                std::vector<UniqueFd> sockets;
                for (int i = 0; i < given.listening; ++i) {
                  UniqueFd fd = Socket();
                  std::filesystem::remove(dir_.File(std::to_string(3 + i)));
                  Bind(fd, dir_.File(std::to_string(3 + i)));
                  EXPECT_EQ(::listen(fd.get(), 1), 0);
                  // Out of the way of those below.
                  sockets.emplace_back(::fcntl(fd.get(), F_DUPFD, 100));
                }
                for (int i = 0; i < given.listening; ++i) {
                  EXPECT_EQ(::dup2(sockets[i].get(), 3 + i), 3 + i);
                }
                const std::string count = given.count.empty()
                                              ? std::to_string(given.listening)
                                              : given.count;
                const std::string pid =
                    given.pid.empty() ? std::to_string(::getpid()) : given.pid;
                ::setenv("LISTEN_FDS", count.c_str(), 1);
                ::setenv("LISTEN_PID", pid.c_str(), 1);
                ::unsetenv("LISTEN_FDNAMES");
                if (!given.names.empty()) {
                  ::setenv("LISTEN_FDNAMES", given.names.c_str(), 1);
                }
                body();
                return HasFailure() ? 1 : 0;
              }).Wait(),
              0);
  }

  void ExpectTaken(const std::string& address, int fd) const {
    const auto taken = TakeHandedInSocket(address);
    ASSERT_THAT(taken, IsOk());
    EXPECT_EQ(taken->fd.get(), fd);
    EXPECT_EQ(taken->address, dir_.Address(std::to_string(fd)));
  }

  static void ExpectNotTaken(const std::string& address, absl::StatusCode code,
                             const std::string& why) {
    EXPECT_THAT(TakeHandedInSocket(address), StatusIs(code, HasSubstr(why)));
    EXPECT_NE(std::getenv("LISTEN_FDS"), nullptr) << "others may still want it";
    EXPECT_EQ(::fcntl(3, F_GETFD), 0);
  }
};

TEST_F(SystemdTest, TheOnlySocketNeedsNoName) {
  Activate({}, [this] { ExpectTaken("systemd:", 3); });
  Activate({.names = "kv"}, [this] { ExpectTaken("systemd:", 3); });
}

TEST_F(SystemdTest, OneOfSeveralIsChosenByName) {
  Activate({.listening = 3, .names = "a:b:c"},
           [this] { ExpectTaken("systemd:b", 4); });
  Activate({.listening = 3, .names = "a:b:c"},
           [this] { ExpectTaken("systemd:c", 5); });
}

TEST_F(SystemdTest, ProgramsThatWeStartTakeNothing) {
  Activate({.listening = 2, .names = "a:b"}, [this] {
    ExpectTaken("systemd:a", 3);
    for (const char* name : {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}) {
      EXPECT_EQ(std::getenv(name), nullptr) << name;
    }
    EXPECT_TRUE(::fcntl(4, F_GETFD) & FD_CLOEXEC);
    EXPECT_THAT(TakeHandedInSocket("systemd:b"),
                StatusIs(absl::StatusCode::kNotFound, HasSubstr("not set")));
    ExpectTaken("fd:4", 4);
  });
}

TEST_F(SystemdTest, WhatIsForAnotherProcessIsRefused) {
  Activate({.pid = "1"}, [] {
    ExpectNotTaken("systemd:", absl::StatusCode::kNotFound, "for process 1 ");
  });
}

TEST_F(SystemdTest, ANameThatIsNotThereIsRefusedAndTheOthersAreSaid) {
  Activate({.listening = 2, .names = "a:b"}, [] {
    ExpectNotTaken("systemd:c", absl::StatusCode::kNotFound, "are: a, b");
  });
  Activate({}, [] {
    ExpectNotTaken("systemd:c", absl::StatusCode::kNotFound, "are: unknown");
  });
}

TEST_F(SystemdTest, SeveralSocketsAreRefusedWhereOneIsMeant) {
  Activate({.listening = 2, .names = "a:b"}, [] {
    ExpectNotTaken("systemd:", absl::StatusCode::kFailedPrecondition, "a, b");
  });
  Activate({.listening = 2, .names = "a:a"}, [] {
    ExpectNotTaken("systemd:a", absl::StatusCode::kFailedPrecondition, "a, a");
  });
}

TEST_F(SystemdTest, VariablesThatMakeNoSenseAreRefused) {
  const auto code = absl::StatusCode::kNotFound;
  for (const char* count : {"0", "-1", "x", "1x", "99999999999"}) {
    Activate({.count = count}, [&] {
      ExpectNotTaken("systemd:", code, absl::StrCat("LISTEN_FDS=", count));
    });
  }
  Activate({.pid = "x"},
           [&] { ExpectNotTaken("systemd:", code, "LISTEN_PID=x"); });
  Activate({.names = "a:b"},
           [&] { ExpectNotTaken("systemd:", code, "2 names for 1 sockets"); });
}

TEST_F(SystemdTest, ASocketThatDoesNotListenIsRefused) {
  Activate({}, [] {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ASSERT_EQ(::dup2(pair[0], 3), 3);
    ExpectNotTaken("systemd:", absl::StatusCode::kFailedPrecondition,
                   "does not listen");
  });
}

}  // namespace
}  // namespace tandem::rpc

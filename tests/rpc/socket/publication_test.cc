// Many starts, deaths and looks, by many processes at once. Each test has a
// short form, and a long one with TANDEM_LONG_TESTS=1 in the environment.

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/socket/dial.h"
#include "rpc/socket/peer_credentials.h"
#include "rpc/socket/unix_listener.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/child.h"
#include "tests/support/descriptors.h"
#include "tests/support/long_tests.h"

namespace tandem::rpc {
namespace {

namespace fs = std::filesystem;

using test::Child;
using test::Pipe;
using testing::IsOk;
using testing::StatusIs;

int Rounds(int short_form, int long_form) {
  return test::IsLong() ? long_form : short_form;
}

class PublicationTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(test::OpenDescriptors(), descriptors_); }

  UnixAddress Address() const { return *UnixAddress::Parse(dir_.Address("s")); }
  absl::StatusOr<std::unique_ptr<UnixListener>> Listen() const {
    return UnixListener::Listen(Address());
  }
  bool Exists() const { return fs::exists(dir_.File("s")); }

  // The process that clients reach; 0 when there is none.
  pid_t Server() const {
    const auto fd = Dial(Address(), ::geteuid(), absl::Now());
    if (!fd.ok()) return 0;
    const auto peer = PeerCredentialsOf(fd->get());
    return peer.ok() ? peer->pid : 0;
  }

  testing::TempDir dir_;

 private:
  const std::map<int, std::string> descriptors_ = test::OpenDescriptors();
};

// Of the rounds, each second one begins over the socket of a winner that was
// killed.
TEST_F(PublicationTest, OfAHundredStartersAtOnceOneWins) {
  constexpr int kStarters = 100;
  const int rounds = Rounds(6, 200);
  for (int round = 0; round < rounds; ++round) {
    ASSERT_EQ(Exists(), round % 2 == 1);
    Pipe start;
    Pipe outcome;
    Pipe finish;
    std::vector<std::unique_ptr<Child>> starters;
    for (int i = 0; i < kStarters; ++i) {
      starters.push_back(std::make_unique<Child>([&] {
        start.WaitClosed();
        const auto listener = Listen();
        outcome.Write(listener.ok()                              ? 'w'
                      : absl::IsAlreadyExists(listener.status()) ? 'l'
                                                                 : '?');
        finish.WaitClosed();
        return 0;
      }));
    }
    start.Close();
    int won = 0;
    int lost = 0;
    for (int i = 0; i < kStarters; ++i) {
      const char what = outcome.Read();
      won += what == 'w';
      lost += what == 'l';
    }
    ASSERT_EQ(won, 1) << "round " << round;
    ASSERT_EQ(lost, kStarters - 1) << "round " << round;
    const pid_t winner = Server();
    ASSERT_NE(winner, 0) << "round " << round;
    if (round % 2 == 0) {
      const auto it = std::find_if(
          starters.begin(), starters.end(),
          [&](const auto& child) { return child->pid() == winner; });
      ASSERT_NE(it, starters.end()) << "a stranger listens";
      (*it)->Kill();
      starters.erase(it);
    }
    finish.Close();
    for (auto& starter : starters) EXPECT_EQ(starter->Wait(), 0);
  }
  std::printf("%d rounds of %d starters: one winner each\n", rounds, kStarters);
}

TEST_F(PublicationTest, AKilledServerNeitherStrandsItsPathNorIsRobbedOfIt) {
  const int rounds = Rounds(40, 500);
  for (int round = 0; round < rounds; ++round) {
    Pipe ready;
    Child server([&] {
      const auto listener = Listen();
      ready.Write(listener.ok() ? 'y' : 'n');
      ::pause();
      return 0;
    });
    ASSERT_EQ(ready.Read(), 'y') << "stranded in round " << round;
    ASSERT_EQ(Server(), server.pid());
    ASSERT_THAT(Listen(), StatusIs(absl::StatusCode::kAlreadyExists));
    ASSERT_EQ(Server(), server.pid()) << "robbed in round " << round;
    server.Kill();
    ASSERT_TRUE(Exists());
    ASSERT_EQ(Server(), 0);
  }
  std::printf("%d kills and restarts\n", rounds);
}

TEST_F(PublicationTest, AServerKilledAtAnyMomentOfItsStartStrandsNothing) {
  const int rounds = Rounds(40, 500);
  std::minstd_rand random(1);
  int left_private = 0;
  for (int round = 0; round < rounds; ++round) {
    Pipe ready;
    Child server([&] {
      ready.Write('y');
      while (Listen().ok()) continue;
      return 1;
    });
    ASSERT_EQ(ready.Read(), 'y');
    absl::SleepFor(absl::Microseconds(random() % 2000));
    server.Kill();
    ASSERT_THAT(Listen(), IsOk()) << "stranded in round " << round;
  }
  for (const auto& entry : fs::directory_iterator(dir_.path())) {
    const std::string name = entry.path().filename();
    if (name == ".s.lock") continue;
    ++left_private;
    // Nobody can connect to it, and nobody looks for it.
    EXPECT_TRUE(name.starts_with(".s") && name.size() == 10) << name;
  }
  std::printf("%d kills while starting and stopping, %d unfinished names\n",
              rounds, left_private);
}

// What there is to see at the path.
class Watcher {
 public:
  Watcher(std::string path, const SocketPermissions& wanted)
      : path_(std::move(path)), wanted_(wanted) {}

  void Look() {
    ++looks_;
    if (!fd_.is_valid()) {
      fd_ = UniqueFd(
          ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    }
    unready_ += Connect() == ECONNREFUSED;
    struct stat info;
    if (::lstat(path_.c_str(), &info) != 0) return;
    ++sightings_;
    wrong_ += !S_ISSOCK(info.st_mode) ||
              (info.st_mode & 07777) != wanted_.mode ||
              info.st_uid != wanted_.uid || info.st_gid != wanted_.gid;
  }

  int looks() const { return looks_; }
  int sightings() const { return sightings_; }
  int wrong() const { return wrong_; }
  int unready() const { return unready_; }

 private:
  int Connect() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path_.c_str());
    if (::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address),
                  sizeof(address)) != 0) {
      return errno;
    }
    fd_.Reset();
    return 0;
  }

  const std::string path_;
  const SocketPermissions wanted_;
  // For the next try.
  UniqueFd fd_;
  int looks_ = 0;
  int sightings_ = 0;
  int wrong_ = 0;
  int unready_ = 0;
};

TEST_F(PublicationTest, AWatcherSeesNoUnfinishedSocket) {
  const int publications = Rounds(500, 10000);
  const bool is_root = test::CanBecomeOthers();
  const SocketPermissions wanted{.mode = 0660,
                                 .uid = is_root ? 1234 : ::geteuid(),
                                 .gid = is_root ? 5678 : ::getegid()};
  Child publisher([&] {
    constexpr mode_t kMasks[] = {0, 022, 077, 0777};
    UniqueFd still_open[256];
    for (int i = 0; i < publications; ++i) {
      ::umask(kMasks[i % 4]);
      const auto listener = UnixListener::Listen(Address(), wanted);
      if (!listener.ok()) return 1;
      // A socket that was found by its name just before that went still
      // listens: so nobody is ever refused.
      still_open[i % std::size(still_open)] =
          UniqueFd(::fcntl((*listener)->fd(), F_DUPFD_CLOEXEC, 0));
      // For as long as it takes to look again.
      absl::SleepFor(absl::Microseconds(100));
    }
    return 0;
  });
  Watcher watcher(dir_.File("s"), wanted);
  siginfo_t ended{};
  while (ended.si_pid == 0) {
    for (int i = 0; i < 100; ++i) watcher.Look();
    ASSERT_EQ(
        ::waitid(P_PID, publisher.pid(), &ended, WEXITED | WNOHANG | WNOWAIT),
        0);
  }
  EXPECT_EQ(publisher.Wait(), 0);
  EXPECT_GT(watcher.sightings(), publications / 100);
  EXPECT_EQ(watcher.wrong(), 0);
  EXPECT_EQ(watcher.unready(), 0);
  std::printf("%d publications, %d looks, %d sockets seen%s\n", publications,
              watcher.looks(), watcher.sightings(),
              is_root ? "" : "; NOT TESTED: an owner that is not our own");
}

}  // namespace
}  // namespace tandem::rpc

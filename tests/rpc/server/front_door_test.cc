#include "rpc/server/front_door.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/socket/dial.h"
#include "rpc/socket/unix_listener.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "rpc/wire/grpc/preface.h"
#include "spdlog/sinks/ringbuffer_sink.h"
#include "spdlog/spdlog.h"
#include "tests/support/child.h"
#include "tests/support/descriptors.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_socket.h"

namespace tandem::rpc {
namespace {

namespace fs = std::filesystem;

using test::Eventually;
using test::IsClosed;
using test::OpenDescriptors;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::IsOk;

constexpr std::string_view kPreface = kGrpcPreface;

// Lowers the descriptors that this process may have, both sides of a test.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(int limit) {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit lower{static_cast<rlim_t>(limit), before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &lower), 0);
  }
  ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  rlimit before_;
};

// Takes all that are left, too: one that is closed can be opened again.
class OutOfDescriptors {
 public:
  OutOfDescriptors() : limit_(OpenDescriptors().rbegin()->first + 1) {
    do {
      taken_.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    } while (taken_.back().is_valid());
  }

 private:
  const DescriptorLimit limit_;
  std::vector<UniqueFd> taken_;
};

std::set<std::string> Threads() {
  std::set<std::string> threads;
  for (const auto& entry : fs::directory_iterator("/proc/self/task")) {
    threads.insert(entry.path());
  }
  return threads;
}

// How often a thread (its directory in /proc) has waited for something: one
// that goes round and round never does. Needs no descriptor to be asked.
class Rests {
 public:
  explicit Rests(const std::string& thread)
      : status_(::open((thread + "/status").c_str(), O_RDONLY | O_CLOEXEC)) {}

  int count() const {
    char text[4096];
    const ssize_t got = ::pread(status_.get(), text, sizeof(text), 0);
    const std::string_view status(text, got > 0 ? got : 0);
    constexpr std::string_view kName = "\nvoluntary_ctxt_switches:";
    const std::size_t at = status.find(kName);
    if (at == std::string_view::npos) return -1;
    return std::stoi(std::string(status.substr(at + kName.size(), 16)));
  }
  // True once it has rested `times` more.
  bool AwaitMore(int times) const {
    const int before = count();
    return before >= 0 && Eventually([&] { return count() >= before + times; });
  }

 private:
  const UniqueFd status_;
};

// Keeps what it is given.
class KeepingWire final : public Wire {
 public:
  explicit KeepingWire(const ConnectionTable& table) : table_(table) {}

  std::string_view name() const override { return "grpc"; }
  Verdict Judge(std::string_view seen) const override {
    return JudgePreface(seen);
  }
  absl::Status Start(const WireParts&) override { return absl::OkStatus(); }
  void Serve(UniqueFd fd,
             std::shared_ptr<ServerConnection> connection) override {
    MutexLock lock(mu_);
    EXPECT_EQ(table_.Find(absl::StrCat("fd:", fd.get())), connection);
    connections_.push_back(std::move(connection));
    served_.push_back(std::move(fd));
  }
  void Stop(absl::Time) override {}

  std::size_t count() const {
    MutexLock lock(mu_);
    return served_.size();
  }
  std::shared_ptr<ServerConnection> connection(std::size_t i) const {
    MutexLock lock(mu_);
    return connections_[i];
  }
  int fd(std::size_t i) const {
    MutexLock lock(mu_);
    return served_[i].get();
  }
  void CloseAll() {
    MutexLock lock(mu_);
    served_.clear();
  }

 private:
  const ConnectionTable& table_;
  mutable Mutex mu_;
  std::vector<UniqueFd> served_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<ServerConnection>> connections_
      ABSL_GUARDED_BY(mu_);
};

class FrontDoorTest : public ::testing::Test {
 protected:
  void Open(FrontDoorOptions options = {}) {
    const std::set<std::string> before = Threads();
    auto listener = UnixListener::Listen(Address(), {.mode = 0666});
    ASSERT_THAT(listener, IsOk());
    listener_ = *std::move(listener);
    auto door = FrontDoor::Open(listener_->fd(), std::move(options), table_,
                                refusals_, {&wire_});
    ASSERT_THAT(door, IsOk());
    door_ = *std::move(door);
    for (const std::string& thread : Threads()) {
      if (!before.contains(thread)) thread_ = thread;
    }
    ASSERT_NE(thread_, "");
  }

  UnixAddress Address() const { return *UnixAddress::Parse(dir_.Address("s")); }
  UniqueFd Connect() const {
    auto fd = Dial(Address(), ::geteuid(), absl::Now());
    return fd.ok() ? *std::move(fd) : UniqueFd();
  }
  UniqueFd ConnectAndSay(std::string_view words) const {
    UniqueFd fd = Connect();
    Say(fd, words);
    return fd;
  }
  // A refused client may find that the door is closed already.
  static void Say(const UniqueFd& fd, std::string_view words) {
    (void)::send(fd.get(), words.data(), words.size(), MSG_NOSIGNAL);
  }

  // To connect once there are no descriptors left.
  static std::vector<UniqueFd> Sockets(int count) {
    std::vector<UniqueFd> sockets;
    for (int i = 0; i < count; ++i) {
      sockets.emplace_back(
          ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    }
    return sockets;
  }
  void ConnectSocket(const UniqueFd& socket) const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    Address().path().copy(address.sun_path, kMaxSocketPathBytes);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address),
                        sizeof(address)),
              0);
  }

  std::uint64_t Refusals(Refusal reason) const {
    return refusals_.count(reason);
  }

  // Waits until the door has handed over that many.
  bool HasServed(std::size_t count) const {
    return Eventually([&] { return wire_.count() == count; });
  }
  Caller CallerOf(std::size_t i) const { return wire_.connection(i)->caller(); }
  int Served(std::size_t i) const { return wire_.fd(i); }
  void CloseServed() { wire_.CloseAll(); }

  static bool IsOpen(const UniqueFd& fd) {
    char byte;
    return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN;
  }

  testing::TempDir dir_;
  std::string thread_;  // The door's.
  std::unique_ptr<UnixListener> listener_;
  ConnectionTable table_;
  RefusalLog refusals_{"door"};
  KeepingWire wire_{table_};
  std::unique_ptr<FrontDoor> door_;
};

TEST_F(FrontDoorTest, HandsOverAGrpcClientWithItsBytesUnread) {
  Open();
  const UniqueFd client = ConnectAndSay(std::string(kPreface) + "more");
  ASSERT_TRUE(HasServed(1));
  char bytes[64];
  const ssize_t got = ::recv(Served(0), bytes, sizeof(bytes), 0);
  EXPECT_EQ(std::string_view(bytes, got), std::string(kPreface) + "more");
  EXPECT_EQ(door_->counts().served, 1u);
  EXPECT_EQ(door_->counts().open, 1u);
}

TEST_F(FrontDoorTest, KnowsTheCallerBeforeItHandsOver) {
  Open();
  const absl::Time before = absl::Now();
  const UniqueFd one = ConnectAndSay(kPreface);
  ASSERT_TRUE(HasServed(1));
  const UniqueFd two = ConnectAndSay(kPreface);
  ASSERT_TRUE(HasServed(2));
  EXPECT_EQ(CallerOf(0).uid, ::geteuid());
  EXPECT_EQ(CallerOf(0).gid, ::getegid());
  EXPECT_EQ(CallerOf(0).pid, ::getpid());
  EXPECT_EQ(CallerOf(0).wire, "grpc");
  EXPECT_GE(CallerOf(0).since, before);
  EXPECT_EQ(CallerOf(0).connection_id, 1u);
  EXPECT_EQ(CallerOf(1).connection_id, 2u);
}

TEST_F(FrontDoorTest, WaitsForAClientThatSpeaksSlowly) {
  Open();
  const UniqueFd client = Connect();
  for (const char c : kPreface) {
    EXPECT_EQ(door_->counts().served, 0u);
    Say(client, std::string_view(&c, 1));
  }
  EXPECT_TRUE(HasServed(1));
}

TEST_F(FrontDoorTest, WhoSaysNothingMayWait) {
  Open({.preface_timeout = absl::Milliseconds(50)});
  const UniqueFd silent = Connect();
  // Came later, and has to go.
  const UniqueFd half = ConnectAndSay(kPreface.substr(0, 1));
  EXPECT_TRUE(IsClosed(half));
  EXPECT_TRUE(IsOpen(silent));
  Say(silent, kPreface);
  EXPECT_TRUE(HasServed(1));
}

TEST_F(FrontDoorTest, WhoSaysNothingIsIdle) {
  Open({.idle_timeout = absl::Milliseconds(50)});
  const UniqueFd client = Connect();
  EXPECT_TRUE(IsClosed(client));
  EXPECT_EQ(Refusals(Refusal::kIdle), 1u);
}

TEST_F(FrontDoorTest, TheFirstByteStartsTheClock) {
  Open({.preface_timeout = absl::Milliseconds(50),
        .idle_timeout = absl::Hours(1)});
  const UniqueFd client = Connect();
  for (int i = 0; i < 3; ++i) {
    const UniqueFd half = ConnectAndSay(kPreface.substr(0, 23));
    EXPECT_TRUE(IsClosed(half));
  }
  Say(client, kPreface.substr(0, 23));
  EXPECT_TRUE(IsClosed(client));
  EXPECT_EQ(Refusals(Refusal::kLateFirstBytes), 4u);
}

TEST_F(FrontDoorTest, ClosesOnHalfAPreface) {
  Open({.preface_timeout = absl::Milliseconds(50)});
  const UniqueFd client = ConnectAndSay(kPreface.substr(0, 23));
  EXPECT_TRUE(IsClosed(client));
  EXPECT_EQ(Refusals(Refusal::kLateFirstBytes), 1u);
}

TEST_F(FrontDoorTest, ClosesOnGarbageAtOnce) {
  Open({.preface_timeout = absl::Hours(1)});
  for (const std::string_view words :
       {"G", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        "\x16\x03\x01"}) {
    const UniqueFd client = ConnectAndSay(words);
    EXPECT_TRUE(IsClosed(client)) << words;
  }
  EXPECT_EQ(Refusals(Refusal::kUnknownFirstBytes), 4u);
  EXPECT_EQ(door_->counts().served, 0u);
}

TEST_F(FrontDoorTest, ForgetsAClientThatLeavesTooEarly) {
  Open({.max_connections = 1,
        .max_connections_per_uid = 1,
        .preface_timeout = absl::Hours(1)});
  ConnectAndSay(kPreface.substr(0, 5));
  EXPECT_TRUE(Eventually([&] { return Refusals(Refusal::kLeftEarly) == 1; }));
  const UniqueFd client = ConnectAndSay(kPreface);
  EXPECT_TRUE(HasServed(1)) << "its place is free";
}

TEST_F(FrontDoorTest, AClientThatLeavesWithoutAByteIsCountedButNotRefused) {
  Open({.max_connections = 1, .preface_timeout = absl::Hours(1)});
  for (std::uint64_t i = 1; i <= 3; ++i) {
    Connect();
    ASSERT_TRUE(Eventually([&] { return door_->counts().unused == i; }));
  }
  const UniqueFd client = ConnectAndSay(kPreface);
  ASSERT_TRUE(HasServed(1)) << "its place is free";
  for (std::size_t i = 0; i < kRefusals; ++i) {
    EXPECT_EQ(Refusals(static_cast<Refusal>(i)), 0u)
        << RefusalName(static_cast<Refusal>(i));
  }
  EXPECT_EQ(door_->counts().accepted, 4u);
  EXPECT_EQ(door_->counts().served, 1u);
}

TEST_F(FrontDoorTest, APolicyThatDoesNotAllowUsClosesAndSaysNothing) {
  Open({.access = AccessPolicy()});
  const UniqueFd client = ConnectAndSay(kPreface);
  EXPECT_TRUE(IsClosed(client));
  EXPECT_EQ(Refusals(Refusal::kNotAllowedToConnect), 1u);
}

TEST_F(FrontDoorTest, AFloodIsToldOfThoughNobodyComesAfterwards) {
  Open({.access = AccessPolicy()});
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(IsClosed(Connect()));
  EXPECT_EQ(Refusals(Refusal::kNotAllowedToConnect), 5u);
  EXPECT_TRUE(Eventually([&] { return !refusals_.has_unlogged(); }));
}

TEST_F(FrontDoorTest, AForeignUidIsRefusedAndOursIsNot) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
  test::Pipe go;
  test::Child stranger([&] {
    go.WaitClosed();
    if (!test::Become(test::kForeignUid)) return 1;
    const auto fd = Dial(Address(), 0, absl::Now());
    return fd.ok() && IsClosed(*fd) ? 0 : 2;
  });
  Open({.preface_timeout = absl::Hours(1)});
  go.Close();
  EXPECT_EQ(stranger.Wait(), 0);
  EXPECT_EQ(Refusals(Refusal::kNotAllowedToConnect), 1u);
  const UniqueFd client = ConnectAndSay(kPreface);
  EXPECT_TRUE(HasServed(1));
}

TEST_F(FrontDoorTest, AMemberOfAnAllowedGroupIsLetIn) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
  test::Pipe go;
  test::Pipe leave;
  test::Child member([&] {
    go.WaitClosed();
    if (!test::Become(test::kForeignUid, {777})) return 1;
    const auto fd = Dial(Address(), 0, absl::Now());
    if (!fd.ok()) return 2;
    Say(*fd, kPreface);
    leave.WaitClosed();
    return 0;
  });
  Open({.access = AccessPolicy::SameUser().AllowGid(777)});
  go.Close();
  EXPECT_TRUE(HasServed(1));
  EXPECT_EQ(CallerOf(0).uid, test::kForeignUid);
  leave.Close();
  EXPECT_EQ(member.Wait(), 0);
}

TEST_F(FrontDoorTest, ClosesOnConnectionsBeyondTheLimit) {
  Open({.max_connections = 2});
  const UniqueFd one = ConnectAndSay(kPreface);
  ASSERT_TRUE(HasServed(1));
  const UniqueFd two = Connect();  // Silent ones count, too.
  const UniqueFd three = ConnectAndSay(kPreface);
  EXPECT_TRUE(IsClosed(three));
  EXPECT_TRUE(IsOpen(one));
  EXPECT_TRUE(IsOpen(two));
  EXPECT_EQ(Refusals(Refusal::kTooManyConnections), 1u);
}

TEST_F(FrontDoorTest, ClosesOnConnectionsBeyondTheLimitOfOneUid) {
  Open({.max_connections_per_uid = 1});
  const UniqueFd one = ConnectAndSay(kPreface);
  ASSERT_TRUE(HasServed(1));
  const UniqueFd two = ConnectAndSay(kPreface);
  EXPECT_TRUE(IsClosed(two));
  EXPECT_EQ(Refusals(Refusal::kTooManyConnectionsOfUid), 1u);
}

TEST_F(FrontDoorTest, AnEndedConnectionMakesRoom) {
  Open({.max_connections = 1, .max_connections_per_uid = 1});
  for (std::size_t i = 1; i <= 3; ++i) {
    const UniqueFd client = ConnectAndSay(kPreface);
    ASSERT_TRUE(HasServed(i));
    ::shutdown(client.get(), SHUT_RDWR);
    ASSERT_TRUE(Eventually([&] { return door_->counts().open == 0; }));
  }
}

TEST_F(FrontDoorTest, AConnectionEndsWithItsClientAndNotBefore) {
  Open();
  const UniqueFd talker = ConnectAndSay(kPreface);
  ASSERT_TRUE(HasServed(1));
  Say(talker, "more");
  // Whatever that did is done once the next client is in.
  const UniqueFd next = ConnectAndSay(kPreface);
  ASSERT_TRUE(HasServed(2));
  EXPECT_EQ(door_->counts().open, 2u);
  ::shutdown(talker.get(), SHUT_WR);
  EXPECT_TRUE(Eventually([&] { return door_->counts().open == 1; }));
}

TEST_F(FrontDoorTest, WhenItStopsItEndsWhatIsServedInTime) {
  Open();
  const UniqueFd talker = ConnectAndSay(kPreface);
  ASSERT_TRUE(HasServed(1));
  door_->StopAccepting(absl::Now() + absl::Milliseconds(10));
  EXPECT_TRUE(IsClosed(talker));
}

TEST_F(FrontDoorTest, OutOfDescriptorsItClosesOneAndGoesOn) {
  Open();
  const std::vector<UniqueFd> clients = Sockets(5);
  {
    const OutOfDescriptors out;
    for (const UniqueFd& client : clients) {
      ConnectSocket(client);
      EXPECT_TRUE(IsClosed(client));
    }
    EXPECT_EQ(Refusals(Refusal::kOutOfDescriptors), 5u);
  }
  const UniqueFd client = ConnectAndSay(kPreface);
  EXPECT_TRUE(HasServed(1));
}

TEST_F(FrontDoorTest, WhenEvenTheReserveIsTakenItPausesAndGoesOn) {
  const auto before = OpenDescriptors();
  Open();
  int reserve = -1;
  for (const auto& [fd, what] : OpenDescriptors()) {
    if (what == "/dev/null" && !before.contains(fd)) reserve = fd;
  }
  ASSERT_GE(reserve, 0);
  const UniqueFd served = ConnectAndSay(kPreface);
  ASSERT_TRUE(HasServed(1));
  const std::vector<UniqueFd> clients = Sockets(2);
  const Rests rests(thread_);
  {
    // Lower than all that are open: to close one makes no room.
    const DescriptorLimit none(3);
    ConnectSocket(clients[0]);
    Say(clients[0], kPreface);
    ASSERT_TRUE(Eventually([&] { return ::fcntl(reserve, F_GETFD) == -1; }));
    EXPECT_TRUE(rests.AwaitMore(5)) << "it does not try all the time";
    EXPECT_TRUE(IsOpen(clients[0])) << "it waits in the queue";
    EXPECT_EQ(door_->counts().accepted, 1u);
    ::shutdown(served.get(), SHUT_RDWR);
    EXPECT_TRUE(Eventually([&] { return door_->counts().open == 0; }))
        << "ends are still noticed";
  }
  EXPECT_TRUE(HasServed(2)) << "who waited is served";
  EXPECT_EQ(Refusals(Refusal::kOutOfDescriptors), 0u);
  const OutOfDescriptors out;
  ConnectSocket(clients[1]);
  EXPECT_TRUE(IsClosed(clients[1])) << "it has a reserve again";
}

TEST_F(FrontDoorTest, ASocketThatAcceptsNothingAnyMoreIsToldOfOnce) {
  const auto logger = spdlog::default_logger();
  const auto lines = std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(100);
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", lines));
  Open();
  // As somebody can who has the same socket.
  ASSERT_EQ(::shutdown(listener_->fd(), SHUT_RDWR), 0);
  EXPECT_TRUE(Eventually([&] { return !lines->last_formatted().empty(); }));
  EXPECT_TRUE(Rests(thread_).AwaitMore(5)) << "it tries again meanwhile";
  EXPECT_THAT(
      lines->last_formatted(),
      ElementsAre(AllOf(HasSubstr("door: "), HasSubstr(std::strerror(EINVAL)),
                        HasSubstr("start the program anew"))));
  door_.reset();
  spdlog::set_default_logger(logger);
}

TEST_F(FrontDoorTest, DescriptorsAreBackToBaseOnceClientsHaveLeft) {
  Open();
  const auto before = OpenDescriptors();
  {
    std::vector<UniqueFd> clients;
    for (int i = 0; i < 20; ++i) clients.push_back(ConnectAndSay(kPreface));
    ASSERT_TRUE(HasServed(20));
  }
  ASSERT_TRUE(Eventually([&] { return door_->counts().open == 0; }));
  CloseServed();
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST_F(FrontDoorTest, StopAcceptingClosesTheWaitingAndKeepsTheServed) {
  Open({.preface_timeout = absl::Hours(1)});
  const UniqueFd served = ConnectAndSay(kPreface);
  ASSERT_TRUE(HasServed(1));
  const UniqueFd waiting = ConnectAndSay(kPreface.substr(0, 7));
  ASSERT_TRUE(Eventually([&] { return door_->counts().accepted == 2; }));
  door_->StopAccepting();
  door_->StopAccepting();
  EXPECT_TRUE(IsClosed(waiting));
  EXPECT_TRUE(IsOpen(served));
  const UniqueFd late = ConnectAndSay(kPreface);
  listener_->Close();
  EXPECT_TRUE(IsClosed(late));
  EXPECT_EQ(door_->counts().accepted, 2u);
  ::shutdown(served.get(), SHUT_RDWR);
  EXPECT_TRUE(Eventually([&] { return door_->counts().open == 0; }))
      << "ends are still noticed";
}

TEST_F(FrontDoorTest, ManyStrangersCostAClientNothing) {
  Open({.preface_timeout = absl::Hours(1)});
  std::vector<UniqueFd> strangers;
  for (int i = 0; i < 200; ++i) {
    strangers.push_back(ConnectAndSay(i % 2 == 0 ? "PRI" : "rubbish"));
  }
  const UniqueFd client = ConnectAndSay(kPreface);
  EXPECT_TRUE(HasServed(1));
}

}  // namespace
}  // namespace tandem::rpc

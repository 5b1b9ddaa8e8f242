// Clients that do it wrong, on purpose or because they were killed. Whatever
// they do, others are served, nobody is taken for somebody else, and nothing is
// left behind.

#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <semaphore>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "rpc/client/channel.h"
#include "rpc/server/server.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tandem/rpc/v1/admin.tandem.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/support/child.h"
#include "tests/support/descriptors.h"
#include "tests/support/eventually.h"
#include "tests/support/long_tests.h"
#include "tests/support/raw_grpc.h"

namespace tandem::rpc {
namespace {

using test::ConnectTo;
using test::Eventually;
using test::IsClosed;
using test::IsLong;
using test::Say;
using testing::IsOk;
using tests::wire::Item;
using tests::wire::ProbeClient;
using tests::wire::ProbeHandler;

constexpr char kEcho[] = "/tests.wire.Probe/Echo";
constexpr char kHang[] = "/tests.wire.Probe/Hang";
constexpr uid_t kFirstUid = 20000;
constexpr int kUids = 50;
// Of so many connections, a user waits for an answer on one.
constexpr int kStaysOf = 5;

// Who floods a server is another user, where the test may become one, whom
// the server lets in as well.
uid_t Flooder() {
  return test::CanBecomeOthers() ? test::kForeignUid : ::geteuid();
}

// Begins calls as fast as they are taken, and never acknowledges the server's
// settings. True when the server ends it.
bool IsEndedForFlooding(const std::string& path, std::string_view method) {
  const UniqueFd fd = ConnectTo(path);
  Say(fd, test::Greeting());
  std::uint32_t stream = 1;
  for (int sent = 0; sent < 30'000; sent += 100) {
    std::string calls;
    for (int i = 0; i < 100; ++i, stream += 2) {
      calls += test::UnaryCall(stream, method, "");
    }
    std::string_view left = calls;
    while (!left.empty()) {
      const ssize_t taken =
          ::send(fd.get(), left.data(), left.size(), MSG_NOSIGNAL);
      if (taken < 0) return true;
      left.remove_prefix(taken);
    }
    char answers[1 << 16];
    while (::recv(fd.get(), answers, sizeof(answers), MSG_DONTWAIT) > 0) {
    }
  }
  return false;
}

// Callers say who they are, and it knows better.
class SkepticalService final : public ProbeHandler {
 public:
  absl::StatusOr<Item> Echo(Call& call, const Item& request) override {
    ++calls;
    if (call.caller().uid != request.number()) ++wrong_callers;
    return request;
  }
  absl::StatusOr<Item> EchoInline(Call& call, const Item& request) override {
    return Echo(call, request);
  }
  absl::StatusOr<Item> Hang(Call& call, const Item& request) override {
    ++calls;
    while (!call.is_cancelled()) absl::SleepFor(absl::Milliseconds(1));
    if (call.caller().uid != request.number()) ++wrong_callers;
    return request;
  }
  // Goes on until nobody waits for it.
  void Linger(Call& call, const Item&, Writer<Item> out) override {
    ++calls;
    call.OnCancel([kept = std::make_shared<Writer<Item>>(std::move(out))] {
      kept->Finish(absl::CancelledError());
    });
  }

  std::atomic<int> calls{0};
  std::atomic<int> wrong_callers{0};
};

std::string MessageOf(uid_t uid) {
  Item item;
  item.set_number(uid);
  return item.SerializeAsString();
}

// The next HTTP/2 frame of a type that comes; nothing once it closes.
std::optional<std::string> ReadFrame(const UniqueFd& fd, char type) {
  const auto read = [&fd](std::size_t size) -> std::optional<std::string> {
    std::string bytes(size, '\0');
    pollfd poll_fd{fd.get(), POLLIN, 0};
    for (std::size_t at = 0; at < size;) {
      if (::poll(&poll_fd, 1, 20000) != 1) return std::nullopt;
      const ssize_t got = ::recv(fd.get(), &bytes[at], size - at, 0);
      if (got <= 0) return std::nullopt;
      at += static_cast<std::size_t>(got);
    }
    return bytes;
  };
  while (true) {
    const auto header = read(9);
    if (!header.has_value()) return std::nullopt;
    std::size_t size = 0;
    for (int i = 0; i < 3; ++i) size = size << 8 | std::uint8_t((*header)[i]);
    const auto body = read(size);
    if (!body.has_value() || (*header)[3] == type) return body;
  }
}

// MAX_CONCURRENT_STREAMS of the server's settings; 0: it names none.
std::uint32_t ReadStreamLimit(const UniqueFd& fd) {
  const std::string settings = ReadFrame(fd, 4).value_or("");
  for (std::size_t at = 0; at + 6 <= settings.size(); at += 6) {
    std::uint32_t value = 0;
    for (int i = 2; i < 6; ++i)
      value = value << 8 | std::uint8_t(settings[at + i]);
    if (settings[at] == 0 && settings[at + 1] == 3) return value;
  }
  return 0;
}

// Of a ping.
bool IsAnswered(const UniqueFd& fd) { return ReadFrame(fd, 6).has_value(); }

class HostileClientsTest : public ::testing::Test {
 protected:
  void Start(ServerOptions options = {}) {
    options.address = dir_.Address("s");
    options.services = {Serve(service_)};
    auto server = Server::Start(std::move(options));
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    channel_ = *Channel::Connect(dir_.Address("s"));
    ASSERT_THAT(EchoAs(::geteuid()), IsOk());
    descriptors_ = test::OpenDescriptors().size();
  }
  std::string path() const { return dir_.File("s"); }
  std::unique_ptr<Channel> OverGrpc() const {
    return *Channel::Connect(dir_.Address("s"), {.wire = ClientWire::kGrpc});
  }

  absl::Status EchoAs(uid_t uid) {
    Item request;
    request.set_number(uid);
    return ProbeClient(*channel_).Echo(request, {}).status();
  }

  // Our own connection is the only one, and has no call but the question.
  bool IsAloneAgain() {
    return Eventually([&] {
      const auto status = v1::AdminClient(*channel_).ServerStatus({}, {});
      return status.ok() && status->connections_size() == 1 &&
             status->connections(0).calls_in_flight() == 1 &&
             test::OpenDescriptors().size() <= descriptors_;
    });
  }

  // Runs `flood` as Flooder() once go_ is closed. To be made before the server.
  std::unique_ptr<test::Child> Flood(std::function<bool()> flood) {
    if (!test::CanBecomeOthers()) {
      std::cerr << "NOT TESTED: a flood of another user (needs root)\n";
    }
    EXPECT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
    return std::make_unique<test::Child>([this, flood = std::move(flood)] {
      go_.WaitClosed();
      if (test::CanBecomeOthers() && !test::Become(Flooder())) return 2;
      return flood() ? 0 : 1;
    });
  }
  // Lets it begin, and calls while it goes on.
  void ExpectAnswersBeside(test::Child& flood) {
    go_.Close();
    for (int i = 0; i < 20; ++i) EXPECT_THAT(EchoAs(::geteuid()), IsOk());
    EXPECT_EQ(flood.Wait(), 0);
  }

  // Begins calls of `method` and gives them up, again and again.
  void ExpectIsEndedForGivingUp(std::string_view method);

  std::uint64_t Refusals(std::string_view reason) {
    const auto status = v1::AdminClient(*channel_).ServerStatus({}, {});
    EXPECT_THAT(status, IsOk());
    for (const auto& refusal : status->refusals()) {
      if (refusal.reason() == reason) return refusal.count();
    }
    ADD_FAILURE() << "no such reason: " << reason;
    return 0;
  }

  // A client that gRPC reads no more from, since it has read nothing. gRPC may
  // find time to end it for its pings before: then another one.
  UniqueFd ClientThatIsNotReadFrom() {
    for (int i = 0; i < 20; ++i) {
      UniqueFd client = ConnectTo(path());
      Say(client, test::Greeting());
      if (PingsUntilItIsNotReadFrom(client)) return client;
    }
    ADD_FAILURE() << "each was read from, or ended";
    return UniqueFd();
  }

  // Reads nothing: gRPC has more and more to answer, and stops reading itself.
  static bool PingsUntilItIsNotReadFrom(const UniqueFd& fd) {
    std::string pings;
    for (int i = 0; i < 1000; ++i) {
      pings += test::Frame(6, 0, 0, absl::StrFormat("%08d", i));
    }
    for (int i = 0; i < 1000; ++i) {
      std::string_view left = pings;
      while (!left.empty()) {
        pollfd poll_fd{fd.get(), POLLOUT, 0};
        if (::poll(&poll_fd, 1, 1000) == 0) return true;
        const ssize_t sent = ::send(fd.get(), left.data(), left.size(),
                                    MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) left.remove_prefix(sent);
        if (sent < 0 && errno != EAGAIN) return false;
      }
    }
    return false;
  }

  testing::TempDir dir_;
  test::Pipe go_;
  SkepticalService service_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Channel> channel_;
  std::size_t descriptors_ = 0;
};

TEST_F(HostileClientsTest, GarbageAfterTheGreetingEndsThatConnectionAlone) {
  Start();
  std::mt19937 random(1);
  for (int i = 0; i < 100; ++i) {
    std::string garbage(random() % 300, '\0');
    for (char& byte : garbage) byte = static_cast<char>(random());
    const UniqueFd fd = ConnectTo(path());
    Say(fd, test::Greeting() + garbage);
  }
  EXPECT_THAT(EchoAs(::geteuid()), IsOk());
  EXPECT_TRUE(IsAloneAgain());
}

TEST_F(HostileClientsTest, AClientMayDieAtEveryByteOfACall) {
  Start();
  const std::string whole = test::Greeting() +
                            test::UnaryCall(1, kEcho, MessageOf(::geteuid())) +
                            test::UnaryCall(3, kHang, MessageOf(::geteuid()));
  {
    // Who says all of it and lives has called twice.
    const int before = service_.calls;
    const UniqueFd fd = ConnectTo(path());
    Say(fd, whole);
    ASSERT_TRUE(Eventually([&] { return service_.calls == before + 2; }));
  }
  for (std::size_t length = 0; length <= whole.size(); ++length) {
    for (const bool waits : {false, true}) {
      const UniqueFd fd = ConnectTo(path());
      Say(fd, std::string_view(whole).substr(0, length));
      // Until gRPC has said its first words.
      char byte;
      if (waits && length >= 24) (void)::recv(fd.get(), &byte, 1, 0);
    }
  }
  EXPECT_THAT(EchoAs(::geteuid()), IsOk());
  EXPECT_TRUE(IsAloneAgain());
  EXPECT_EQ(service_.wrong_callers, 0);
}

TEST_F(HostileClientsTest, AFloodOfConnectionsLeavesNothingBehind) {
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  const auto flood = Flood([this] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([this, i] {
        for (int n = 0; n < 1000; ++n) {
          const UniqueFd fd = ConnectTo(path());
          if (i == 0) Say(fd, "PRI * HT");
          if (i == 1) Say(fd, test::Greeting());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return true;
  });
  AccessPolicy access = AccessPolicy::SameUser();
  access.AllowUid(Flooder());
  Start({.permissions = {.mode = 0666},
         .access = access,
         .preface_timeout = absl::Milliseconds(200)});
  ExpectAnswersBeside(*flood);
  EXPECT_TRUE(IsAloneAgain());
}

// Without an end of the connection, all that it begins waits in one line with
// what others do.
TEST_F(HostileClientsTest, AFloodOfDeniedCallsEndsTheConnection) {
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  const auto flood =
      Flood([this] { return IsEndedForFlooding(path(), kHang); });
  AccessPolicy access = AccessPolicy::SameUser();
  access.AllowUid(Flooder());
  ASSERT_THAT(access.AddRule("tests.wire.Probe/Hang=user:54322"), IsOk());
  Start({.permissions = {.mode = 0666},
         .access = access,
         .max_calls_per_connection = 100});
  const int calls = service_.calls;
  ExpectAnswersBeside(*flood);
  EXPECT_EQ(service_.calls, calls + 20);
  EXPECT_TRUE(
      Eventually([&] { return Refusals("too-many-calls-for-nothing") == 1; }));
  EXPECT_GT(Refusals("not-allowed-to-call"), 1100u);
  EXPECT_TRUE(IsAloneAgain());
}

TEST_F(HostileClientsTest, AFloodOfAllowedCallsEndsTheConnection) {
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  const auto flood =
      Flood([this] { return IsEndedForFlooding(path(), kHang); });
  AccessPolicy access = AccessPolicy::SameUser();
  access.AllowUid(Flooder());
  Start({.permissions = {.mode = 0666},
         .access = access,
         .max_calls_per_connection = 100});
  const int calls = service_.calls;
  ExpectAnswersBeside(*flood);
  EXPECT_TRUE(IsAloneAgain());
  EXPECT_LE(service_.calls, calls + 20 + 100);
  EXPECT_TRUE(
      Eventually([&] { return Refusals("too-many-calls-for-nothing") == 1; }));
  EXPECT_GT(Refusals("too-many-calls"), 1000u);
}

// "Rapid reset".
void HostileClientsTest::ExpectIsEndedForGivingUp(std::string_view method) {
  constexpr std::uint32_t kCalls = 2000;
  Start({.max_queued_calls = 3 * kCalls, .max_calls_per_connection = kCalls});
  UniqueFd fd = ConnectTo(path());
  Say(fd, test::Greeting());
  // Nothing once it was ended.
  const auto in_flight = [&]() -> std::optional<std::uint32_t> {
    const auto status = v1::AdminClient(*channel_).ServerStatus({}, {});
    if (!status.ok() || status->connections_size() < 2) return std::nullopt;
    return status->connections(1).calls_in_flight();
  };
  bool is_ended = false;
  std::uint32_t stream = 1;
  for (int round = 0; round < 50 && !is_ended; ++round) {
    std::string calls;
    std::string resets;
    for (std::uint32_t i = 0; i < kCalls; ++i, stream += 2) {
      calls += test::UnaryCall(stream, method, MessageOf(::geteuid()));
      resets += test::Frame(3, 0, stream, std::string_view("\0\0\0\x08", 4));
    }
    Say(fd, calls);
    ASSERT_TRUE(Eventually([&] { return in_flight().value_or(0) == kCalls; }));
    Say(fd, resets);
    ASSERT_TRUE(Eventually([&] { return in_flight().value_or(0) == 0; }));
    is_ended = !in_flight().has_value();
  }
  EXPECT_TRUE(is_ended);
  fd.Reset();
  EXPECT_THAT(EchoAs(::geteuid()), IsOk());
  EXPECT_TRUE(
      Eventually([&] { return Refusals("too-many-calls-for-nothing") == 1; }));
  EXPECT_EQ(Refusals("too-many-calls"), 0u);
  EXPECT_EQ(Refusals("too-many-queued-calls"), 0u);
  EXPECT_TRUE(IsAloneAgain());
}

TEST_F(HostileClientsTest, AFloodOfCallsThatAreGivenUpEndsTheConnection) {
  ExpectIsEndedForGivingUp(kHang);
}

TEST_F(HostileClientsTest, AFloodOfStreamsThatAreGivenUpEndsTheConnection) {
  ExpectIsEndedForGivingUp("/tests.wire.Probe/Linger");
}

// Who acknowledges gRPC's limit is held to it, whether or not its calls are
// complete: twice what it may call at once, or a thousand.
TEST_F(HostileClientsTest, CallsThatAreOnlyBegunAreLimitedToo) {
  for (const auto& [max_calls, limit] :
       {std::pair(100, 1000U), std::pair(600, 1200U)}) {
    Start({.max_calls_per_connection = max_calls});
    UniqueFd fd = ConnectTo(path());
    Say(fd, test::Greeting());
    EXPECT_EQ(ReadStreamLimit(fd), limit);
    Say(fd, test::Frame(4, 1, 0, ""));
    std::uint32_t stream = 1;
    const auto begin = [&](std::uint32_t calls) {
      std::string begun;
      for (std::uint32_t i = 0; i < calls; ++i, stream += 2) {
        begun += test::BegunCall(stream, kEcho);
      }
      Say(fd, begun);
      // It has seen these once it answers.
      Say(fd, test::Frame(6, 0, 0, "question"));
    };
    begin(limit);
    EXPECT_TRUE(IsAnswered(fd));
    begin(limit);
    EXPECT_FALSE(IsAnswered(fd)) << "it closes";
    fd.Reset();
    EXPECT_TRUE(IsAloneAgain());
    channel_ = nullptr;
    server_ = nullptr;
  }
}

// Who has as many calls in flight as it may, again and again, is not ended.
TEST_F(HostileClientsTest, ManyCallsAtOnceAreNoFlood) {
  Start({.max_calls_per_connection = 410});
  channel_ = OverGrpc();
  Item request;
  request.set_number(::geteuid());
  for (int round = 0; round < 20; ++round) {
    std::counting_semaphore<> answered(0);
    std::atomic<int> good = 0;
    for (int i = 0; i < 400; ++i) {
      ProbeClient(*channel_).EchoInline(request, {}, [&](const auto& reply) {
        if (reply.ok()) ++good;
        answered.release();
      });
    }
    for (int i = 0; i < 400; ++i) answered.acquire();
    EXPECT_EQ(good, 400);
    // A call is in flight until its answer is written.
    ASSERT_TRUE(Eventually([&] {
      const auto status = v1::AdminClient(*channel_).ServerStatus({}, {});
      return status.ok() && status->connections(0).calls_in_flight() == 1;
    }));
  }
  EXPECT_EQ(Refusals("too-many-calls-for-nothing"), 0u);
}

TEST_F(HostileClientsTest, WhoSaysHalfOfItIsClosedOnAndOthersDoNotNotice) {
  Start({.preface_timeout = absl::Milliseconds(100)});
  const UniqueFd silent = ConnectTo(path());
  const UniqueFd half = ConnectTo(path());
  Say(half, test::Greeting().substr(0, 12));
  const UniqueFd garbage = ConnectTo(path());
  Say(garbage, "\x16\x03\x01");
  EXPECT_THAT(EchoAs(::geteuid()), IsOk());
  EXPECT_TRUE(IsClosed(half));
  EXPECT_TRUE(IsClosed(garbage));
  // Who has said nothing is not late.
  pollfd poll_fd{silent.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&poll_fd, 1, 0), 0);
}

TEST_F(HostileClientsTest, StopEndsInTimeWhateverClientsDo) {
  Start({.preface_timeout = absl::Hours(1)});
  std::vector<UniqueFd> clients;
  const std::string call =
      test::Greeting() + test::UnaryCall(1, kHang, MessageOf(::geteuid()));
  for (std::size_t i = 0; i < 40; ++i) {
    clients.push_back(ConnectTo(path()));
    Say(clients.back(), std::string_view(call).substr(0, call.size() * i / 39));
  }
  ASSERT_TRUE(Eventually([&] { return service_.calls >= 2; }));
  EXPECT_TRUE(server_->Stop(absl::Milliseconds(50)));
  for (const UniqueFd& client : clients) {
    // What was sent in answer comes before the end.
    char bytes[4096];
    while (::recv(client.get(), bytes, sizeof(bytes), 0) > 0) {
    }
  }
}

TEST_F(HostileClientsTest, WhoReadsNothingAndHalfClosesLeavesNothingBehind) {
  Start();
  const UniqueFd client = ClientThatIsNotReadFrom();
  ::shutdown(client.get(), SHUT_WR);
  const std::size_t with_ours = descriptors_ + 1;
  EXPECT_TRUE(
      Eventually([&] { return test::OpenDescriptors().size() <= with_ours; }));
}

TEST_F(HostileClientsTest, WhoReadsNothingHoldsUpNoStop) {
  Start();
  const UniqueFd client = ClientThatIsNotReadFrom();
  // The second one waits for the first, on a machine that is busy.
  EXPECT_TRUE(server_->Stop(absl::Milliseconds(50)) ||
              server_->Stop(absl::Seconds(20)));
}

// Stopped, they neither leave nor read nor write: gRPC's pings notice.
TEST_F(HostileClientsTest, StoppedClientsAreNoticedAndTheIdleAreKept) {
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  if (!IsLong()) {
    GTEST_SKIP() << "NOT TESTED: takes 20 s; set TANDEM_LONG_TESTS=1";
  }
  test::Pipe go;
  const auto client = [&](bool with_call) {
    return [this, &go, with_call] {
      go.WaitClosed();
      const auto channel = OverGrpc();
      Item request;
      request.set_number(::geteuid());
      if (with_call) {
        ProbeClient(*channel).Hang(request, {}, [](const auto&) {});
      }
      // Goes the same way, so the call is there when this is answered.
      ProbeClient(*channel).Echo(request).IgnoreError();
      ::raise(SIGSTOP);
      return 0;
    };
  };
  const test::Child idle(client(false));
  const test::Child calling(client(true));
  Start({.workers = 2});
  const auto ours = OverGrpc();
  auto session = ours->OpenSession(absl::Seconds(20));
  ASSERT_THAT(session, IsOk());
  const int calls = service_.calls;
  go.Close();
  for (const test::Child* child : {&idle, &calling}) {
    int status = 0;
    ASSERT_EQ(::waitpid(child->pid(), &status, WUNTRACED), child->pid());
    ASSERT_TRUE(WIFSTOPPED(status));
  }
  ASSERT_TRUE(Eventually([&] { return service_.calls == calls + 3; }));
  const auto status = [&] {
    const auto reply = v1::AdminClient(*channel_).ServerStatus({}, {});
    return reply.ok() ? *reply : v1::ServerStatusReply();
  };
  ASSERT_EQ(status().connections_size(), 4);
  const absl::Time stopped = absl::Now();
  // Both sessions of ours, the idle one too, answer pings.
  while (status().connections_size() != 2) {
    ASSERT_LT(absl::Now(), stopped + absl::Minutes(2));
    absl::SleepFor(absl::Milliseconds(100));
  }
  RecordProperty("noticed_after", absl::FormatDuration(absl::Now() - stopped));
  EXPECT_FALSE((*session)->is_over());
  session->reset();
  EXPECT_TRUE(IsAloneAgain()) << "the call was cancelled";
}

// 200 clients wait for a server that has room for a few: it serves those that
// it has, refuses the others, and once they have left has room again. The
// server is a process of its own, since the limit is for both sides of this
// one.
TEST_F(HostileClientsTest, AtTheDescriptorLimitItServesWhomItHasAndRecovers) {
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  test::Pipe ready;
  test::Child server([&] {
    auto started = Server::Start({.address = dir_.Address("s"),
                                  .services = {Serve(service_)},
                                  .preface_timeout = absl::Hours(1)});
    if (!started.ok()) return 1;
    const rlim_t used = test::OpenDescriptors().size();
    const rlimit few{used + 32 + 20, used + 32 + 20};
    if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 2;
    ready.Write('1');
    ::pause();
    return 0;
  });
  ASSERT_EQ(ready.Read(), '1');
  channel_ = *Channel::Connect(dir_.Address("s"));
  ASSERT_THAT(EchoAs(::geteuid()), IsOk());
  const auto status = [&] {
    const auto reply = v1::AdminClient(*channel_).ServerStatus({}, {});
    EXPECT_THAT(reply, IsOk());
    return reply.ok() ? *reply : v1::ServerStatusReply();
  };
  const auto used = [&] {
    const v1::ServerStatusReply reply = status();
    for (const auto& limit : reply.limits()) {
      if (limit.name() == "descriptors") return limit.used();
    }
    return std::uint64_t{0};
  };
  const std::uint64_t before = used();
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 200; ++i) clients.push_back(ConnectTo(path()));
  ASSERT_TRUE(
      Eventually([&] { return status().accepted_connections() > 200; }));
  const v1::ServerStatusReply full = status();
  std::uint64_t refused = 0;
  for (const auto& refusal : full.refusals()) {
    if (refusal.reason() == "out-of-descriptors") refused = refusal.count();
  }
  EXPECT_GT(refused, 150u);
  EXPECT_LT(refused, 200u) << "some have room";
  EXPECT_THAT(EchoAs(::geteuid()), IsOk()) << "whom it has, it serves";
  clients.clear();
  EXPECT_TRUE(Eventually([&] { return used() <= before; }));
  const auto late = Channel::Connect(dir_.Address("s"));
  EXPECT_THAT((*late)->WaitForConnected(absl::Seconds(20)), IsOk());
}

// Many users, who leave in the middle of calls, so that descriptor numbers are
// given away again and again. Nobody's call counts as another's.
TEST_F(HostileClientsTest, NoCallIsAttributedToTheWrongCaller) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
  const int rounds = IsLong() ? 2000 : 60;
  test::Pipe go;
  std::vector<std::unique_ptr<test::Child>> users;
  for (int i = 0; i < kUids; ++i) {
    users.push_back(std::make_unique<test::Child>([&, i] {
      const uid_t uid = kFirstUid + i;
      go.WaitClosed();
      if (!test::Become(uid)) return 1;
      std::mt19937 random(uid);
      for (int round = 0; round < rounds; ++round) {
        const UniqueFd fd = ConnectTo(path());
        if (!fd.is_valid()) return 2;
        const std::string calls = test::Greeting() +
                                  test::UnaryCall(1, kEcho, MessageOf(uid)) +
                                  test::UnaryCall(3, kHang, MessageOf(uid)) +
                                  test::UnaryCall(5, kEcho, MessageOf(uid));
        Say(fd, calls);
        // Some stay for the server's first words, a few for an answer, none
        // until the end.
        if (round % kStaysOf == 0) {
          if (!ReadFrame(fd, 0).has_value()) return 3;
        } else if (char bytes[64]; random() % 2 == 0) {
          (void)::recv(fd.get(), bytes, sizeof(bytes), 0);
        }
      }
      return 0;
    }));
  }
  AccessPolicy access = AccessPolicy::SameUser();
  for (int i = 0; i < kUids; ++i) access.AllowUid(kFirstUid + i);
  Start({.permissions = {.mode = 0666}, .access = access, .workers = 4});
  go.Close();
  for (const auto& user : users) EXPECT_EQ(user->Wait(), 0);
  EXPECT_EQ(service_.wrong_callers, 0);
  EXPECT_GE(service_.calls, kUids * rounds / kStaysOf) << "few came to call";
  RecordProperty("calls", std::to_string(service_.calls));
  // The last may have left before they are accepted. One is ours.
  const std::uint64_t connections = std::uint64_t{kUids} * rounds + 1;
  EXPECT_TRUE(Eventually([&] {
    const auto status = v1::AdminClient(*channel_).ServerStatus({}, {});
    return status.ok() && status->accepted_connections() == connections;
  }));
  EXPECT_TRUE(IsAloneAgain());
}

}  // namespace
}  // namespace tandem::rpc

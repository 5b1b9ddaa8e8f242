// What one client may do to a server: the policy and the limits, over each wire
// of our own clients.

#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <memory>
#include <semaphore>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/client/cancellation.h"
#include "rpc/client/channel.h"
#include "rpc/client/session.h"
#include "rpc/server/server.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tandem/rpc/v1/admin.tandem.h"
#include "tandem/rpc/v1/session.tandem.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/support/child.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_grpc.h"

namespace tandem::rpc {
namespace {

using absl::StatusCode;
using test::Eventually;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using tests::wire::Item;
using tests::wire::ProbeClient;
using tests::wire::ProbeService;

constexpr uid_t kGuest = test::kForeignUid;

Item ItemOf(std::size_t bytes) {
  Item item;
  item.mutable_data()->assign(bytes, 'x');
  return item;
}

// Takes what has come.
void Drain(const UniqueFd& fd) {
  char bytes[4096];
  while (::recv(fd.get(), bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
  }
}

// Calls that are in flight until they are ended.
class HangingCalls {
 public:
  ~HangingCalls() { End(); }

  // Holds a worker, once it has one.
  void Begin(Channel& channel) {
    ++begun_;
    ProbeClient(channel).Hang({}, {.cancellation = cancellation_},
                              [this](const auto&) { ended_.release(); });
  }
  void BeginLater(Channel& channel, const Item& request = {}) {
    ++begun_;
    ProbeClient(channel).HangLater(request, {.cancellation = cancellation_},
                                   [this](const auto&) { ended_.release(); });
  }
  // Once it returns they have ended.
  void End() {
    cancellation_.Cancel();
    for (; begun_ > 0; --begun_) ended_.acquire();
  }

 private:
  Cancellation cancellation_;
  int begun_ = 0;
  std::counting_semaphore<> ended_{0};
};

// What came before the end is taken.
bool Ends(const UniqueFd& fd) {
  return Eventually([&] {
    Drain(fd);
    char byte;
    return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT) == 0;
  });
}

class LimitsTest : public ::testing::TestWithParam<ClientWire> {
 protected:
  void Start(ServerOptions options = {}) {
    options.address = dir_.Address("s");
    options.services = {Serve(probe_)};
    auto server = Server::Start(std::move(options));
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    channel_ = Connect();
    ASSERT_THAT(v1::SessionClient(*channel_).Hello({}, {}), IsOk());
  }

  std::unique_ptr<Channel> Connect() {
    return *Channel::Connect(dir_.Address("s"), {.wire = GetParam()});
  }

  absl::Status Echo() { return ProbeClient(*channel_).Echo({}, {}).status(); }

  v1::ServerStatusReply Status() {
    auto status = v1::AdminClient(*channel_).ServerStatus({}, {});
    EXPECT_THAT(status, IsOk());
    return *std::move(status);
  }
  std::uint64_t Refusals(std::string_view reason) {
    const v1::ServerStatusReply status = Status();
    for (const auto& refusal : status.refusals()) {
      if (refusal.reason() == reason) return refusal.count();
    }
    ADD_FAILURE() << "no such reason: " << reason;
    return 0;
  }
  v1::LimitStatus Limit(std::string_view name) {
    const v1::ServerStatusReply status = Status();
    for (const auto& limit : status.limits()) {
      if (limit.name() == name) return limit;
    }
    ADD_FAILURE() << "no such limit: " << name;
    return {};
  }

  // As another user. `body` returns 0 when all was as it should be. To be made
  // before the server.
  template <typename Body>
  std::unique_ptr<test::Child> Guest(Body body) {
    EXPECT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
    return std::make_unique<test::Child>([this, body] {
      go_.WaitClosed();
      if (!test::Become(kGuest)) return 99;
      const auto channel = Channel::Connect(
          dir_.Address("s"), {.server_uid = 0, .wire = GetParam()});
      return body(**channel);
    });
  }

  testing::TempDir dir_;
  test::Pipe go_;
  ProbeService probe_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Channel> channel_;
};

// Who may call what.

TEST_P(LimitsTest, ACallThatARuleForbidsIsRefusedAndNamesTheRule) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  const auto guest = Guest([](Channel& channel) {
    ProbeClient probe(channel);
    if (!probe.EchoInline({}, {}).ok()) return 1;
    const absl::Status denied = probe.Echo({}, {}).status();
    if (!absl::IsPermissionDenied(denied)) return 2;
    if (denied.message().find("uid 54321 may not call tests.wire.Probe/Echo: "
                              "the rule for tests.wire.Probe allows uid 0") ==
        absl::string_view::npos) {
      return 3;
    }
    // A stream, too.
    auto stream = probe.Count({}, {});
    Item item;
    if (stream.Read(&item)) return 4;
    return absl::IsPermissionDenied(stream.status()) ? 0 : 5;
  });
  AccessPolicy access = AccessPolicy::SameUser();
  ASSERT_THAT(access.AddRule("tests.wire.Probe/EchoInline=user:54321"), IsOk());
  ASSERT_THAT(access.AddRule("tests.wire.Probe=user:0"), IsOk());
  Start({.permissions = {.mode = 0666}, .access = access});
  go_.Close();
  EXPECT_EQ(guest->Wait(), 0);
  EXPECT_EQ(probe_.calls, 0);
  EXPECT_EQ(Refusals("not-allowed-to-call"), 2u);
  EXPECT_THAT(Echo(), IsOk());
  EXPECT_THAT(ProbeClient(*channel_).EchoInline({}, {}),
              StatusIs(StatusCode::kPermissionDenied))
      << "the rule does not name us";
}

TEST_P(LimitsTest, WhomARuleNamesMayCallNothingElse) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  const auto guest = Guest([](Channel& channel) {
    ProbeClient probe(channel);
    if (!probe.EchoInline({}, {}).ok()) return 1;
    if (!absl::IsPermissionDenied(probe.Echo({}, {}).status())) return 2;
    if (!v1::SessionClient(channel).Hello({}, {}).ok()) return 3;
    return 0;
  });
  AccessPolicy access = AccessPolicy::SameUser();
  ASSERT_THAT(access.AddRule("tests.wire.Probe/EchoInline=user:54321"), IsOk());
  Start({.permissions = {.mode = 0666}, .access = access});
  go_.Close();
  EXPECT_EQ(guest->Wait(), 0);
}

TEST_P(LimitsTest, AdminIsForTheServersOwnUidUnlessARuleSaysOtherwise) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  const auto guest = Guest([](Channel& channel) {
    return static_cast<int>(
        v1::AdminClient(channel).ServerStatus({}, {}).status().code());
  });
  Start({.permissions = {.mode = 0666},
         .access = AccessPolicy::SameUser().AllowUid(kGuest)});
  go_.Close();
  EXPECT_EQ(guest->Wait(), static_cast<int>(StatusCode::kPermissionDenied));
  EXPECT_EQ(Status().pid(), ::getpid());
}

TEST_P(LimitsTest, ARuleOpensAdminToOthers) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  const auto guest = Guest([](Channel& channel) {
    return static_cast<int>(
        v1::AdminClient(channel).ServerStatus({}, {}).status().code());
  });
  AccessPolicy access = AccessPolicy::SameUser();
  ASSERT_THAT(access.AddRule("tandem.rpc.v1.Admin=user:54321,user:0"), IsOk());
  Start({.permissions = {.mode = 0666}, .access = access});
  go_.Close();
  EXPECT_EQ(guest->Wait(), 0);
}

TEST_P(LimitsTest, ARuleForWhatIsNotServedIsRefusedAtStart) {
  for (const char* rule :
       {"tests.wire.Prob=user:0", "tests.wire.Probe/Ech=*"}) {
    AccessPolicy access = AccessPolicy::SameUser();
    ASSERT_THAT(access.AddRule(rule), IsOk());
    EXPECT_THAT(Server::Start({.address = dir_.Address("s"),
                               .access = access,
                               .services = {Serve(probe_)}}),
                StatusIs(StatusCode::kInvalidArgument,
                         HasSubstr("which this server does not have")));
  }
}

// 0 when a server in a user namespace that has no number for `kGuest` treats it
// as nobody. `policy` is the server's.
int ServeInNamespace(const std::string& address, const AccessPolicy& policy,
                     ProbeService& probe, test::Pipe& ready, test::Pipe& done) {
  if (::unshare(CLONE_NEWUSER) != 0) return 77;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << "0 0 1";
  std::ofstream("/proc/self/gid_map") << "0 0 1";
  if (::geteuid() != 0) return 77;
  auto server = Server::Start({.address = address,
                               .permissions = {.mode = 0666},
                               .access = policy,
                               .services = {Serve(probe)}});
  if (!server.ok()) return 1;
  ready.Write('1');
  done.WaitClosed();
  return 0;
}

TEST_P(LimitsTest, AnUnmappedUidIsNotTheUserWhoseNumberItShows) {
  if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
  for (const bool everybody : {false, true}) {
    test::Pipe ready;
    test::Pipe done;
    test::Child server([&] {
      AccessPolicy policy = AccessPolicy().AllowUid(65534).AllowGid(65534);
      if (everybody) policy.Allow(AllowList::Everybody());
      return ServeInNamespace(dir_.Address("s"), policy, probe_, ready, done);
    });
    if (ready.Read() != '1') {
      ASSERT_EQ(server.Wait(), 77);
      GTEST_SKIP() << "NOT TESTED: this machine allows no user namespaces";
    }
    // 1: not let in. 2: let in, and shown as unmapped.
    const int result = test::RunAs(kGuest, [&] {
      const auto channel = Channel::Connect(
          dir_.Address("s"), {.server_uid = 0, .wire = GetParam()});
      const auto hello = v1::SessionClient(**channel).Hello({}, {});
      if (!hello.ok()) return 1;
      return hello->caller().is_unmapped() && hello->caller().uid() == 65534
                 ? 2
                 : 3;
    });
    EXPECT_EQ(result, everybody ? 2 : 1);
    done.Close();
    EXPECT_EQ(server.Wait(), 0);
  }
}

// Limits.

TEST_P(LimitsTest, CallsBeyondTheLimitOfAConnectionAreRefusedAndNameIt) {
  Start({.max_calls_per_connection = 3});
  // Another connection, which is free to call.
  const auto other = Connect();
  const auto in_flight = [&] {
    const auto status = v1::AdminClient(*other).ServerStatus({}, {});
    return status.ok() ? status->connections(0).calls_in_flight() : 99;
  };
  // A call is in flight until its answer is written.
  ASSERT_TRUE(Eventually([&] { return in_flight() == 0; }));
  HangingCalls calls;
  for (int i = 0; i < 3; ++i) calls.BeginLater(*channel_);
  ASSERT_TRUE(Eventually([&] { return in_flight() == 3; }));
  EXPECT_THAT(Echo(), StatusIs(StatusCode::kResourceExhausted,
                               HasSubstr("max_calls_per_connection")));
  calls.End();
  EXPECT_TRUE(Eventually([&] { return Echo().ok(); }));
  EXPECT_GE(Refusals("too-many-calls"), 1u);
  EXPECT_EQ(Limit("max_calls_per_connection").limit(), 3u);
}

TEST_P(LimitsTest, RequestsBeyondTheMemoryAreRefusedUntilOthersHaveEnded) {
  Start({.max_message_bytes = 1 << 20,
         .max_request_memory = 2 << 20,
         .max_request_memory_per_uid = 1 << 20});
  HangingCalls calls;
  calls.BeginLater(*channel_, ItemOf(700'000));
  ASSERT_TRUE(probe_.began.Wait());
  EXPECT_GE(Limit("max_request_memory").used(), 700'000u);
  EXPECT_GE(Limit("max_request_memory_per_uid").used(), 700'000u);
  // What has come of a frame is counted too, as it comes.
  EXPECT_THAT(ProbeClient(*channel_).Echo(ItemOf(700'000), {}),
              StatusIs(StatusCode::kResourceExhausted,
                       HasSubstr("max_request_memory")));
  EXPECT_THAT(Echo(), IsOk()) << "little is not counted";
  EXPECT_EQ(Refusals("out-of-request-memory"), 1u);
  calls.End();
  EXPECT_TRUE(Eventually(
      [&] { return ProbeClient(*channel_).Echo(ItemOf(700'000), {}).ok(); }));
  EXPECT_TRUE(
      Eventually([&] { return Limit("max_request_memory").used() == 0; }));
}

TEST_P(LimitsTest, MessagesBeyondTheSizeAreRefusedAndCounted) {
  Start({.max_message_bytes = 1000});
  // Over ttrpc a client learns of the limit, and does not send them.
  channel_ = *Channel::Connect(dir_.Address("s"), {.wire = ClientWire::kGrpc});
  ProbeClient probe(*channel_);
  EXPECT_THAT(probe.Echo(ItemOf(2000), {}),
              StatusIs(StatusCode::kResourceExhausted,
                       HasSubstr("larger than the limit of 1000 bytes")));
  EXPECT_EQ(Refusals("message-too-large"), 1u);
  auto stream = probe.Chat({});
  EXPECT_THAT(stream.Write(ItemOf(2000)), IsOk());
  Item item;
  EXPECT_FALSE(stream.Read(&item));
  EXPECT_THAT(stream.status(), StatusIs(StatusCode::kResourceExhausted,
                                        HasSubstr("limit of 1000 bytes")));
  EXPECT_EQ(Refusals("message-too-large"), 2u);
  EXPECT_EQ(Limit("max_message_bytes").limit(), 1000u);
  EXPECT_EQ(probe_.calls, 0);
  EXPECT_THAT(probe.Echo(ItemOf(900), {}), IsOk());
}

TEST_P(LimitsTest, AnswersBeyondTheSizeAreNotSentAndCounted) {
  Start({.max_reply_bytes = 100'000});
  Item request;
  request.set_number(200'000);
  EXPECT_THAT(ProbeClient(*channel_).Grow(request, {}),
              StatusIs(StatusCode::kResourceExhausted,
                       HasSubstr("limit of 100000 bytes")));
  EXPECT_EQ(Refusals("reply-too-large"), 1u);
}

TEST_P(LimitsTest, CallsThatFindTheQueueFullAreRefusedAndCounted) {
  Start({.workers = 1, .max_queued_calls = 1});
  HangingCalls calls;
  calls.Begin(*channel_);
  ASSERT_TRUE(probe_.began.Wait());
  calls.Begin(*channel_);
  // Admin runs inline: it needs no worker.
  ASSERT_TRUE(
      Eventually([&] { return Limit("max_queued_calls").used() == 1; }));
  EXPECT_THAT(Echo(), StatusIs(StatusCode::kResourceExhausted,
                               HasSubstr("1 calls wait for its 1 workers")));
  EXPECT_EQ(Refusals("too-many-queued-calls"), 1u);
  EXPECT_EQ(Limit("max_queued_calls").limit(), 1u);
}

TEST_P(LimitsTest, ACallIsAnsweredWhileAnotherConnectionHasAllThatItMay) {
  Start({.workers = 4, .max_queued_calls = 4});
  const auto greedy = Connect();
  HangingCalls calls;
  // Of the workers, all but one.
  for (int i = 1; i <= 3; ++i) {
    calls.Begin(*greedy);
    ASSERT_TRUE(Eventually([&] { return probe_.hung == i; }));
  }
  // Of the queue, half.
  calls.Begin(*greedy);
  calls.Begin(*greedy);
  ASSERT_TRUE(
      Eventually([&] { return Limit("max_queued_calls").used() == 2; }));
  EXPECT_THAT(ProbeClient(*greedy).Echo({}, {}),
              StatusIs(StatusCode::kResourceExhausted,
                       HasSubstr("its share of the server's queue")));
  EXPECT_EQ(Refusals("too-many-queued-calls"), 1u);
  EXPECT_THAT(Echo(), IsOk());
  EXPECT_EQ(probe_.hung, 3);
  EXPECT_EQ(Limit("max_queued_calls").used(), 2u);
}

TEST_P(LimitsTest, RequestsOfAllTogetherBeyondTheMemoryAreRefused) {
  Start({.max_message_bytes = 1 << 20,
         .max_request_memory = 1 << 20,
         .max_request_memory_per_uid = 2 << 20});
  HangingCalls calls;
  calls.BeginLater(*channel_, ItemOf(700'000));
  ASSERT_TRUE(probe_.began.Wait());
  EXPECT_THAT(ProbeClient(*channel_).Echo(ItemOf(700'000), {}),
              StatusIs(StatusCode::kResourceExhausted,
                       HasSubstr("max_request_memory)")));
}

TEST_P(LimitsTest, MemoryThatHasNoRoomForAMessageIsRefusedAtStart) {
  EXPECT_THAT(Server::Start({.address = dir_.Address("s"),
                             .services = {Serve(probe_)},
                             .max_message_bytes = std::size_t{1} << 30}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("max_request_memory_per_uid")));
}

TEST_P(LimitsTest, AStreamThatNobodyReadsIsEnded) {
  Start({.write_timeout = absl::Milliseconds(100)});
  Item request;
  request.set_number(10'000'000);
  const UniqueFd deaf = test::ConnectTo(dir_.File("s"));
  test::Say(deaf,
            test::Greeting() + test::UnaryCall(1, "/tests.wire.Probe/Count",
                                               request.SerializeAsString()));
  // The call, and, since it does not read at all, the connection.
  EXPECT_TRUE(Eventually([&] { return Refusals("slow-reader") == 2; }));
  EXPECT_TRUE(Eventually([&] { return Status().connections_size() == 1; }));
}

TEST_P(LimitsTest, RefusalsThatNobodyReadsEndTheConnection) {
  ServerOptions options{.write_timeout = absl::Seconds(1)};
  ASSERT_THAT(options.access.AddRule("tests.wire.Probe/Echo=user:1"), IsOk());
  Start(std::move(options));
  const UniqueFd deaf = test::ConnectTo(dir_.File("s"));
  test::Say(deaf, test::Greeting());
  std::string calls;
  // More than fits into the socket.
  for (std::uint32_t i = 0; i < 5000; ++i) {
    calls += test::UnaryCall(2 * i + 1, "/tests.wire.Probe/Echo", "");
  }
  test::Say(deaf, calls);
  EXPECT_TRUE(Eventually([&] { return Refusals("slow-reader") == 1; }));
  EXPECT_TRUE(Eventually([&] { return Status().connections_size() == 1; }));
}

TEST_P(LimitsTest, AStreamThatNobodyReadsHoldsLittle) {
  Start();
  constexpr std::size_t kMessage = 8 << 10;
  const UniqueFd deaf = test::ConnectTo(dir_.File("s"));
  test::Say(deaf, test::Greeting() +
                      test::UnaryCall(1, "/tests.wire.Probe/Flood",
                                      ItemOf(kMessage).SerializeAsString()));
  // The handler is told that there is no more room,
  ASSERT_TRUE(probe_.flooded.Wait());
  // after what waits here (256 KiB and a message), and what HTTP/2 lets us send
  // to a client that has said nothing (64 KiB and a message).
  EXPECT_GE(probe_.flood * kMessage, std::size_t{256} << 10);
  EXPECT_LE(probe_.flood * kMessage, (std::size_t{320} << 10) + 2 * kMessage);
  // Of that, what gRPC was given.
  EXPECT_TRUE(Eventually([&] {
    return Status().connections(1).reply_bytes() >= std::size_t{64} << 10;
  }));
  EXPECT_LE(Status().connections(1).reply_bytes(),
            (std::size_t{64} << 10) + 3 * kMessage);
}

TEST_P(LimitsTest, AnAnswerThatNobodyReadsIsDropped) {
  if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
  test::Child client([&] {
    go_.WaitClosed();
    const auto channel = Connect();
    if (!channel->WaitForConnected(absl::Seconds(20)).ok()) return 1;
    Item request;
    request.set_number(48 << 20);
    ProbeClient(*channel).Grow(request, {}, [](const auto&) {});
    // Goes the same way, so the first one is there when this is answered.
    ProbeClient(*channel).Echo({}).IgnoreError();
    ::raise(SIGSTOP);
    return 0;
  });
  Start({.write_timeout = absl::Milliseconds(100)});
  go_.Close();
  EXPECT_TRUE(Eventually([&] { return Refusals("slow-reader") >= 1; }));
  EXPECT_THAT(Echo(), IsOk());
}

// It makes room for no more than HTTP/2 gives everybody.
TEST_P(LimitsTest, AnAnswerBeyondTheWindowIsDroppedAndTheConnectionStays) {
  Start({.write_timeout = absl::Seconds(1)});
  Item request;
  request.set_number(1 << 20);
  const UniqueFd client = test::ConnectTo(dir_.File("s"));
  test::Say(client,
            test::Greeting() + test::UnaryCall(1, "/tests.wire.Probe/Grow",
                                               request.SerializeAsString()));
  EXPECT_TRUE(Eventually([&] {
    Drain(client);
    return Refusals("slow-reader") == 1;
  }));
  EXPECT_TRUE(Eventually([&] {
    Drain(client);
    const v1::ServerStatusReply status = Status();
    std::uint64_t calls = 0;
    for (const auto& connection : status.connections()) {
      calls += connection.calls_in_flight();
    }
    return status.connections_size() == 2 && calls == 1;  // The question.
  }));
  EXPECT_EQ(Refusals("slow-reader"), 1u);
}

TEST_P(LimitsTest, AClientThatReadsSlowlyButReadsIsServed) {
  Start({.write_timeout = absl::Seconds(3)});
  Item request;
  request.set_number(10'000'000);
  // For longer than write_timeout something waits to be written, and a little
  // of it is. Where the machine lets the test stand still meanwhile, it was no
  // such client.
  const auto is_served = [&] {
    const std::uint64_t refusals = Refusals("slow-reader");
    const UniqueFd slow = test::ConnectTo(dir_.File("s"));
    test::Say(slow,
              test::Greeting() + test::UnaryCall(1, "/tests.wire.Probe/Count",
                                                 request.SerializeAsString()));
    const absl::Time end = absl::Now() + absl::Seconds(5);
    absl::Time before = absl::Now();
    absl::Duration longest;
    while (before < end) {
      Drain(slow);
      const std::string room = {0, 0, 4, 0};
      test::Say(slow, test::Frame(8, 0, 0, room) + test::Frame(8, 0, 1, room));
      absl::SleepFor(absl::Milliseconds(200));
      const absl::Time now = absl::Now();
      longest = std::max(longest, now - std::exchange(before, now));
    }
    if (longest > absl::Seconds(1)) return false;
    EXPECT_EQ(Refusals("slow-reader"), refusals);
    EXPECT_TRUE(Eventually([&] { return Status().connections_size() == 2; }));
    return true;
  };
  int tries = 1;
  while (!is_served() && tries < 5) ++tries;
  EXPECT_LT(tries, 5) << "the machine is too busy";
}

TEST_P(LimitsTest, ASilentClientStreamIsEndedAndItsWorkerIsFree) {
  Start({.workers = 2, .read_timeout = absl::Milliseconds(100)});
  EXPECT_EQ(Limit("read_timeout_ms").limit(), 100u);
  ProbeClient probe(*channel_);
  auto silent = probe.First({});
  auto silent_both_ways = probe.Chat({});
  EXPECT_TRUE(Eventually([&] { return Refusals("slow-writer") == 2; }));
  EXPECT_THAT(Echo(), IsOk());
  EXPECT_THAT(silent.Finish(), StatusIs(StatusCode::kCancelled));
  Item item;
  EXPECT_FALSE(silent_both_ways.Read(&item));
  EXPECT_THAT(silent_both_ways.status(), StatusIs(StatusCode::kCancelled));
}

TEST_P(LimitsTest, AClientThatSendsSlowlyButSendsIsServed) {
  Start({.read_timeout = absl::Seconds(3)});
  auto chat = ProbeClient(*channel_).Chat({});
  const absl::Time end = absl::Now() + absl::Seconds(5);
  Item item;
  while (absl::Now() < end) {
    ASSERT_THAT(chat.Write(item), IsOk());
    ASSERT_TRUE(chat.Read(&item));
    absl::SleepFor(absl::Milliseconds(200));
  }
  EXPECT_EQ(Refusals("slow-writer"), 0u);
}

TEST_P(LimitsTest, AHandlerThatIsNotBlockedInReadIsLeftAlone) {
  Start({.read_timeout = absl::Seconds(1)});
  ProbeClient probe(*channel_);
  auto by_callback = probe.Sum({});
  auto busy_elsewhere = probe.SumLate({});
  ASSERT_TRUE(probe_.began.Wait());
  // Twice what is blocked was ended since.
  for (std::uint64_t ended = 1; ended <= 2; ++ended) {
    auto silent = probe.First({});
    EXPECT_TRUE(Eventually([&] { return Refusals("slow-writer") == ended; }));
  }
  Item item;
  item.set_number(5);
  EXPECT_THAT(by_callback.Write(item), IsOk());
  EXPECT_THAT(by_callback.Finish(), IsOk());
  EXPECT_THAT(busy_elsewhere.Write(item), IsOk());
  probe_.read_late.Set();
  EXPECT_THAT(busy_elsewhere.Finish(), IsOk());
  EXPECT_EQ(Refusals("slow-writer"), 2u);
}

TEST_P(LimitsTest, AConnectionWithoutCallsIsEndedOneWithACallIsNot) {
  Start({.idle_timeout = absl::Milliseconds(100)});
  const auto busy = Connect();
  HangingCalls calls;
  calls.BeginLater(*busy);
  ASSERT_TRUE(probe_.began.Wait());
  // One after the other, so that the busy one has been there for long.
  for (int i = 0; i < 3; ++i) {
    const auto idle = Connect();
    const auto session = idle->OpenSession(absl::Seconds(20));
    ASSERT_THAT(session, IsOk());
    EXPECT_TRUE((*session)->WaitOver(absl::Seconds(20)));
  }
  EXPECT_FALSE(probe_.cancelled.is_set());
  EXPECT_TRUE(Eventually([&] { return Echo().ok(); })) << "it connects anew";
  EXPECT_TRUE(Eventually([&] {
    const auto status = v1::AdminClient(*channel_).ServerStatus({}, {});
    if (!status.ok()) return false;  // Just then it was idle for too long.
    return std::any_of(status->refusals().begin(), status->refusals().end(),
                       [](const v1::RefusalCount& refusal) {
                         return refusal.reason() == "idle" &&
                                refusal.count() >= 3;
                       });
  }));
}

// gRPC shows it to us when all of it is there.
TEST_P(LimitsTest, AConnectionWhoseRequestStillComesIsNotIdle) {
  Start({.idle_timeout = absl::Seconds(2)});
  const std::string call =
      test::Greeting() + test::UnaryCall(1, "/tests.wire.Probe/Echo",
                                         ItemOf(50).SerializeAsString());
  const std::size_t cut = call.size() - 50;
  UniqueFd slow = test::ConnectTo(dir_.File("s"));
  UniqueFd stuck = test::ConnectTo(dir_.File("s"));
  for (const UniqueFd* client : {&slow, &stuck}) {
    test::Say(*client, std::string_view(call).substr(0, cut));
  }
  // For longer than idle_timeout.
  for (std::size_t i = cut; i < call.size(); ++i) {
    ASSERT_EQ(probe_.calls, 0);
    test::Say(slow, std::string_view(call).substr(i, 1));
    absl::SleepFor(absl::Milliseconds(100));
  }
  EXPECT_TRUE(Eventually([&] { return probe_.calls == 1; }));
  EXPECT_TRUE(Ends(stuck)) << "it had no call, and did not go on";
  slow.Reset();
  EXPECT_TRUE(Eventually([&] {
    const auto status = v1::AdminClient(*channel_).ServerStatus({}, {});
    return status.ok() && status->connections_size() == 1;
  })) << "its end is noticed still";
}

TEST_P(LimitsTest, StatusShowsWhatConnectionsDo) {
  Start();
  ASSERT_THAT(ProbeClient(*channel_).Echo(ItemOf(100'000), {}), IsOk());
  EXPECT_TRUE(Eventually(
      [&] { return Status().connections(0).calls_in_flight() == 1; }));
  const v1::ServerStatusReply status = Status();
  ASSERT_EQ(status.connections_size(), 1);
  const v1::ConnectionStatus& connection = status.connections(0);
  EXPECT_EQ(connection.caller().uid(), ::geteuid());
  EXPECT_EQ(connection.caller().pid(), ::getpid());
  EXPECT_GE(connection.calls(), 2u);
  EXPECT_GE(connection.request_bytes(), 100'000u);
  EXPECT_GE(connection.reply_bytes(), 100'000u);
  EXPECT_LT(connection.reply_bytes(), 200'000u);
  EXPECT_EQ(status.accepted_connections(), 1u);
  EXPECT_EQ(Limit("max_connections").used(), 1u);
  EXPECT_EQ(Limit("max_connections_per_uid").used(), 1u);
  {
    const UniqueFd silent = test::ConnectTo(dir_.File("s"));
    EXPECT_TRUE(
        Eventually([&] { return Limit("max_connections").used() == 2; }));
    EXPECT_EQ(Limit("max_connections_per_uid").used(), 2u);
  }
  EXPECT_GT(Limit("descriptors").used(), 3u);
  EXPECT_GT(Limit("descriptors").limit(), Limit("descriptors").used());
  channel_ = Connect();
  EXPECT_TRUE(Eventually([&] { return Status().connections_size() == 1; }));
}

INSTANTIATE_TEST_SUITE_P(Over, LimitsTest,
                         ::testing::Values(ClientWire::kGrpc,
                                           ClientWire::kTtrpc),
                         [](const auto& wire) {
                           return wire.param == ClientWire::kGrpc ? "Grpc"
                                                                  : "Ttrpc";
                         });

}  // namespace
}  // namespace tandem::rpc

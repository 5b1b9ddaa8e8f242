// What only calls within a process can do.

#include "rpc/client/in_process.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/empty.pb.h"
#include "gtest/gtest.h"
#include "rpc/client/call.h"
#include "rpc/client/channel.h"
#include "rpc/client/session.h"
#include "rpc/testing/status_matchers.h"
#include "tests/rpc/wire/other.tandem.h"
#include "tests/rpc/wire/probe_service.h"

namespace tests::wire {
namespace {

using ::tandem::rpc::InProcessTransport;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::HasSubstr;

TEST(InProcessTransportTest, WithoutWorkersHandlersRunOnTheCallersThread) {
  class Where final : public ProbeHandler {
   public:
    absl::StatusOr<Item> Echo(tandem::rpc::Call&, const Item& item) override {
      thread = std::this_thread::get_id();
      return item;
    }
    std::thread::id thread;
  } where;
  InProcessTransport inline_only({Serve(where)}, {.workers = 0});
  EXPECT_THAT(ProbeClient(inline_only).Echo(Item()), IsOk());
  EXPECT_EQ(where.thread, std::this_thread::get_id());
  InProcessTransport pooled({Serve(where)}, {.workers = 1});
  EXPECT_THAT(ProbeClient(pooled).Echo(Item()), IsOk());
  EXPECT_NE(where.thread, std::this_thread::get_id());
}

TEST(InProcessTransportTest, ServiceThatIsNotThereIsUnimplemented) {
  ProbeService service;
  InProcessTransport transport({Serve(service)}, {});
  EXPECT_THAT(other::WiderClient(transport).Echo({}),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("/tests.wire.other.Wider/Echo")));
}

// Rows of the same name but other types must not be mixed up: messages are
// handed over as they are.
TEST(InProcessTransportTest, RowOfAnotherTableIsUnimplemented) {
  ProbeService service;
  InProcessTransport transport({Serve(service)}, {});
  const tandem::rpc::Method copy = ProbeHandler::Table().methods[0];
  EXPECT_THAT(tandem::rpc::CallAndWait<Item>(transport, copy, Item(), {}),
              StatusIs(absl::StatusCode::kUnimplemented));
}

TEST(InProcessTransportTest, AReplyIsReadAsTheTypeThatTheCallerHas) {
  ProbeService service;
  InProcessTransport transport({Serve(service)}, {});
  const tandem::rpc::Method& echo = ProbeHandler::Table().methods[0];
  ASSERT_EQ(echo.name, "Echo");
  Item item;
  item.set_number(7);
  const auto unread = tandem::rpc::CallAndWait<google::protobuf::Empty>(
      transport, echo, item, {});
  ASSERT_THAT(unread, IsOk());
  EXPECT_EQ(unread->SerializeAsString(), item.SerializeAsString());
}

TEST(InProcessTransportTest, NeitherSideSeesTheOthersMessage) {
  class Keeper final : public ProbeHandler {
   public:
    void HangLater(tandem::rpc::Call&, const Item& item,
                   tandem::rpc::Reply<Item> reply) override {
      request = &item;
      later.emplace(std::move(reply));
    }
    const Item* request = nullptr;
    std::optional<tandem::rpc::Reply<Item>> later;
  } keeper;
  InProcessTransport transport({Serve(keeper)}, {.workers = 0});
  Item item;
  item.set_number(1);
  bool is_done = false;
  ProbeClient(transport).HangLater(
      item, {}, [&](absl::StatusOr<Item> reply) { is_done = reply.ok(); });
  item.set_number(2);
  EXPECT_EQ(keeper.request->number(), 1);
  keeper.later->Send(*keeper.request);
  EXPECT_TRUE(is_done);
}

// Each message could be read from within the callback of the one before.
TEST(InProcessTransportTest, ReadingFromCallbacksDoesNotGrowTheStack) {
  ProbeService service;
  InProcessTransport transport({Serve(service)}, {.workers = 0});
  Item many;
  many.set_number(10'000);
  auto stream = ProbeClient(transport).Count(many);
  Item item;
  int read = 0;
  int depth = 0;
  int deepest = 0;
  Event done;
  std::function<void(bool)> next = [&](bool has_message) {
    if (!has_message) return done.Set();
    ++read;
    deepest = std::max(deepest, ++depth);
    stream.Read(&item, next);
    --depth;
  };
  stream.Read(&item, next);
  ASSERT_TRUE(done.Wait());
  EXPECT_EQ(read, 10'000);
  EXPECT_EQ(deepest, 1);
}

TEST(InProcessTransportTest, ReplyMayOutliveTheTransport) {
  class Keeper final : public ProbeHandler {
   public:
    void HangLater(tandem::rpc::Call& call, const Item&,
                   tandem::rpc::Reply<Item> reply) override {
      later.emplace(std::move(reply));
    }
    void Linger(tandem::rpc::Call& call, const Item&,
                tandem::rpc::Writer<Item> out) override {
      writer.emplace(std::move(out));
    }
    std::optional<tandem::rpc::Reply<Item>> later;
    std::optional<tandem::rpc::Writer<Item>> writer;
  } keeper;
  auto transport = std::make_unique<InProcessTransport>(
      std::vector{Serve(keeper)}, InProcessTransport::Options{.workers = 0});
  absl::Status ended;
  ProbeClient(*transport)
      .HangLater(Item(), {},
                 [&](absl::StatusOr<Item> reply) { ended = reply.status(); });
  auto stream = ProbeClient(*transport).Linger(Item());
  transport = nullptr;
  EXPECT_THAT(ended, StatusIs(absl::StatusCode::kUnavailable));
  Item item;
  EXPECT_FALSE(stream.Read(&item));
  keeper.later->Send(Item());
  EXPECT_THAT(keeper.writer->Write(item),
              StatusIs(absl::StatusCode::kCancelled));
  keeper.writer->Finish(absl::OkStatus());
}

TEST(InProcessChannelTest, AnswersHelloAsAServerDoes) {
  ProbeService service;
  const auto channel = tandem::rpc::Channel::InProcess({Serve(service)});
  EXPECT_THAT(channel->WaitForConnected(absl::Seconds(10)), IsOk());
  auto session = channel->OpenSession(absl::Seconds(10));
  ASSERT_THAT(session, IsOk());
  const auto& hello = (*session)->hello();
  ASSERT_THAT(hello, IsOk());
  EXPECT_EQ(hello->caller().wire(), "in-process");
  EXPECT_NE(hello->instance_id(), "");
  ASSERT_EQ(hello->services_size(), 1);
  EXPECT_EQ(hello->services(0).name(), "tests.wire.Probe");
  EXPECT_EQ(hello->services(0).fingerprint(),
            ProbeHandler::Table().fingerprint);
  EXPECT_THAT(ProbeClient(*channel).Echo(Item()), IsOk());
}

TEST(InProcessChannelTest, StandsForAnyCaller) {
  ProbeService service;
  auto access = tandem::rpc::AccessPolicy::SameUser();
  ASSERT_THAT(access.AddRule("tests.wire.Probe/Echo=user:7,group:8"), IsOk());
  const auto channel_of = [&](uid_t uid, gid_t gid) {
    return tandem::rpc::Channel::InProcess(
        {Serve(service)}, {.access = access,
                           .caller = tandem::rpc::Caller{
                               .uid = uid, .gid = gid, .groups = {gid}}});
  };
  for (const auto& [uid, gid] : {std::pair(7, 1), std::pair(9, 8)}) {
    const auto channel = channel_of(uid, gid);
    ProbeClient probe(*channel);
    EXPECT_THAT(probe.Echo(Item()), IsOk());
    EXPECT_EQ(service.last_caller().uid, static_cast<uid_t>(uid));
    EXPECT_THAT(probe.EchoInline(Item()),
                StatusIs(absl::StatusCode::kPermissionDenied,
                         HasSubstr("there is no rule for it")));
    EXPECT_THAT((*channel->OpenSession(absl::Seconds(10)))->hello(), IsOk());
  }
  const auto ours = channel_of(::geteuid(), ::getegid());
  EXPECT_THAT(ProbeClient(*ours).EchoInline(Item()), IsOk());
  EXPECT_THAT(ProbeClient(*ours).Echo(Item()),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("the rule for tests.wire.Probe/Echo")));
}

TEST(InProcessChannelTest, WhoMayNotConnectIsNotAnswered) {
  ProbeService service;
  const auto channel = tandem::rpc::Channel::InProcess(
      {Serve(service)}, {.access = tandem::rpc::AccessPolicy().AllowUid(7),
                         .caller = tandem::rpc::Caller{.uid = 9}});
  EXPECT_THAT(ProbeClient(*channel).Echo(Item()),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("uid 9 may not connect")));
  EXPECT_THAT(channel->OpenSession(absl::Seconds(10)),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(service.calls, 0);
}

TEST(InProcessChannelTest, ClosingASessionEndsItsCallsAndNoOthers) {
  ProbeService service;
  const auto channel = tandem::rpc::Channel::InProcess({Serve(service)});
  auto session = *channel->OpenSession(absl::Seconds(10));
  ProbeClient probe(*session);
  EXPECT_THAT(probe.Echo(Item()), IsOk());
  EXPECT_FALSE(session->is_over());
  EXPECT_FALSE(session->WaitOver(absl::Milliseconds(1)));
  absl::Status ended;
  Event done;
  probe.HangLater(Item(), {}, [&](absl::StatusOr<Item> reply) {
    ended = reply.status();
    done.Set();
  });
  ASSERT_TRUE(service.began.Wait());
  std::thread closer([&] { session->Close(); });
  EXPECT_TRUE(session->WaitOver(absl::Seconds(30)));
  closer.join();
  ASSERT_TRUE(done.Wait());
  EXPECT_THAT(ended, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_TRUE(service.cancelled.Wait());
  EXPECT_THAT(probe.Echo(Item()), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(ProbeClient(*channel).Echo(Item()), IsOk());
}

}  // namespace
}  // namespace tests::wire

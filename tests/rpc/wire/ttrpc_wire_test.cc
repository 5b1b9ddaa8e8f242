// What a server makes of the frames of any client, a test's own included.

#include "rpc/wire/ttrpc/ttrpc_wire.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/unique_fd.h"
#include "rpc/client/channel.h"
#include "rpc/server/server.h"
#include "rpc/socket/dial.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "rpc/wire/ttrpc/frame.h"
#include "tandem/rpc/v1/admin.tandem.h"
#include "tandem/rpc/v1/session.pb.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/rpc/wire/ttrpc_peer.h"
#include "tests/support/descriptors.h"
#include "tests/support/eventually.h"

namespace tests::wire {
namespace {

namespace ttrpc = ::tandem::rpc::ttrpc;

using ::absl::StatusCode;
using ::google::protobuf::MessageLite;
using ::tandem::rpc::OutputBuffer;
using ::tandem::rpc::ServerOptions;
using ::tandem::rpc::UniqueFd;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::tandem::test::Eventually;
using ::tandem::test::OpenDescriptors;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Lt;

constexpr char kProbe[] = "tests.wire.Probe";
constexpr std::size_t kMaxMessage = 8 << 20;

Item Number(std::int64_t number) {
  Item item;
  item.set_number(number);
  return item;
}

Item Bytes(std::size_t size) {
  Item item;
  item.set_data(std::string(size, 'x'));
  return item;
}

// What a client sends to begin a call. `message` may be null.
std::string RequestFrame(std::uint32_t id, std::string_view method,
                         const MessageLite* message, std::uint8_t flags = 0,
                         std::string_view service = kProbe,
                         std::int64_t timeout_nanos = 0) {
  OutputBuffer out;
  const ttrpc::Request request = {.service = service,
                                  .method = method,
                                  .payload = {},
                                  .timeout_nanos = timeout_nanos,
                                  .metadata = {}};
  ttrpc::Payload payload;
  if (message != nullptr) {
    payload = {.message = message, .bytes = message->ByteSizeLong()};
  }
  ttrpc::AppendRequest(out, id, flags, request, payload);
  return std::string(out.unsent());
}

std::string Call(std::uint32_t id, std::string_view method,
                 const MessageLite& message) {
  return RequestFrame(id, method, &message);
}

std::string StreamCall(std::uint32_t id, std::string_view method,
                       const MessageLite& message) {
  return RequestFrame(id, method, &message, ttrpc::kRemoteClosed);
}

std::string OpenCall(std::uint32_t id, std::string_view method) {
  return RequestFrame(id, method, nullptr, ttrpc::kRemoteOpen);
}

// A frame of any kind.
std::string RawFrame(std::uint32_t id, std::uint8_t type, std::uint8_t flags,
                     std::string_view data,
                     std::optional<std::uint32_t> length = std::nullopt) {
  const std::uint32_t bytes =
      length.value_or(static_cast<std::uint32_t>(data.size()));
  std::string frame;
  for (const std::uint32_t word : {bytes, id}) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      frame += static_cast<char>(word >> shift);
    }
  }
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  return frame.append(data);
}

absl::Status StatusOf(const TtrpcPeer::Frame& frame) {
  ttrpc::Response response;
  EXPECT_EQ(frame.header.type, ttrpc::kResponse);
  EXPECT_TRUE(ttrpc::ParseResponse(frame.data, &response));
  return response.status;
}

Item ReplyOf(const TtrpcPeer::Frame& frame) {
  ttrpc::Response response;
  Item item;
  EXPECT_TRUE(ttrpc::ParseResponse(frame.data, &response));
  EXPECT_THAT(response.status, IsOk());
  EXPECT_TRUE(item.ParseFromString(std::string(response.payload)));
  return item;
}

Item MessageOf(const TtrpcPeer::Frame& frame) {
  Item item;
  EXPECT_EQ(frame.header.type, ttrpc::kData);
  EXPECT_TRUE(item.ParseFromString(frame.data));
  return item;
}

bool IsEnd(const TtrpcPeer::Frame& frame) {
  return frame.header.type == ttrpc::kData &&
         frame.header.flags == (ttrpc::kRemoteClosed | ttrpc::kNoData);
}

class TtrpcWireTest : public ::testing::Test {
 protected:
  void Start(ServerOptions options = {}) {
    server_ = nullptr;
    options.address = dir_.Address("server");
    options.grpc = false;
    options.services = {Serve(service_)};
    options.max_message_bytes = kMaxMessage;
    options.max_reply_bytes = kMaxMessage;
    auto server = tandem::rpc::Server::Start(std::move(options));
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  std::unique_ptr<TtrpcPeer> Connect() const {
    auto fd =
        tandem::rpc::Dial(*tandem::rpc::UnixAddress::Parse(server_->address()),
                          ::geteuid(), absl::Now() + absl::Seconds(30));
    EXPECT_THAT(fd, IsOk());
    // Tests block.
    ::fcntl(fd->get(), F_SETFL, 0);
    return std::make_unique<TtrpcPeer>(*std::move(fd));
  }

  // The extensions that the server takes up.
  static tandem::rpc::v1::TtrpcExtensions SayHello(TtrpcPeer& peer) {
    tandem::rpc::v1::HelloRequest hello;
    hello.mutable_ttrpc()->set_max_message_bytes(kMaxMessage);
    hello.mutable_ttrpc()->set_cancel(true);
    hello.mutable_ttrpc()->set_credit(true);
    peer.Send(RequestFrame(1, "Hello", &hello, 0, "tandem.rpc.v1.Session"));
    const TtrpcPeer::Frame frame = peer.MustRead();
    ttrpc::Response response;
    tandem::rpc::v1::HelloReply reply;
    EXPECT_TRUE(ttrpc::ParseResponse(frame.data, &response));
    EXPECT_TRUE(reply.ParseFromString(std::string(response.payload)));
    EXPECT_EQ(reply.caller().wire(), "ttrpc");
    return reply.ttrpc();
  }

  void ExpectServes() const {
    const auto peer = Connect();
    peer->Send(Call(1, "Echo", Number(42)));
    EXPECT_EQ(ReplyOf(peer->MustRead()).number(), 42);
  }

  const tandem::rpc::testing::TempDir dir_;
  ProbeService service_;
  std::unique_ptr<tandem::rpc::Server> server_;
};

TEST_F(TtrpcWireTest, AClientThatSaysNoHelloIsServed) {
  Start();
  const auto peer = Connect();
  peer->Send(Call(1, "Echo", Number(1)) + Call(3, "EchoInline", Number(2)) +
             Call(5, "EchoLater", Number(3)));
  std::map<std::uint32_t, std::int64_t> got;
  for (int i = 0; i < 3; ++i) {
    const TtrpcPeer::Frame frame = peer->MustRead();
    got[frame.header.stream] = ReplyOf(frame).number();
  }
  EXPECT_THAT(got, ElementsAre(testing::Pair(1, 1), testing::Pair(3, 2),
                               testing::Pair(5, 3)));
  peer->Send(StreamCall(7, "Count", Number(2)));
  EXPECT_EQ(MessageOf(peer->MustRead()).number(), 0);
  EXPECT_EQ(MessageOf(peer->MustRead()).number(), 1);
  EXPECT_TRUE(IsEnd(peer->MustRead()));
  peer->Send(OpenCall(9, "Sum") + DataFrame(9, Number(20)) +
             DataFrame(9, Number(22)) + ClosedFrame(9));
  EXPECT_EQ(ReplyOf(peer->MustRead()).number(), 42);
}

// What the protocol's description says of servers: such frames end no
// connection.
TEST_F(TtrpcWireTest, WrongFramesAreAnsweredAndTheConnectionStays) {
  Start();
  const auto peer = Connect();
  const auto expect = [&](std::uint32_t id, std::string_view frame,
                          StatusCode code, std::string_view words) {
    peer->Send(frame);
    const TtrpcPeer::Frame answer = peer->MustRead();
    EXPECT_EQ(answer.header.stream, id);
    EXPECT_THAT(StatusOf(answer),
                StatusIs(code, HasSubstr(std::string(words))));
  };
  constexpr auto kInvalid = StatusCode::kInvalidArgument;
  expect(2, Call(2, "Echo", Number(1)), kInvalid, "odd");
  expect(1, RawFrame(1, ttrpc::kRequest, 0, "\xff\xff"), kInvalid,
         "no Request");
  expect(1, Call(1, "Echo", Number(1)), kInvalid, "larger than those before");
  expect(5, Call(5, "Vanished", Number(1)), StatusCode::kUnimplemented,
         "/tests.wire.Probe/Vanished");
  expect(7, RequestFrame(7, "Echo", nullptr, 0, "no.Such"),
         StatusCode::kUnimplemented, "/no.Such/Echo");
  expect(9, OpenCall(9, "Echo"), kInvalid, "does not stream");
  expect(11, Call(11, "Count", Number(1)), kInvalid, "streams");
  expect(99, DataFrame(99, Number(1)), kInvalid, "no stream 99");
  const std::string garbage = "\x1a\x02\xff\xff";
  expect(
      13,
      RawFrame(13, ttrpc::kRequest, 0,
               absl::StrCat("\x0a\x10", kProbe, "\x12\x04", "Echo", garbage)),
      kInvalid, "tests.wire.Item");
  // Neither an unknown type nor what comes late is answered.
  peer->Send(RawFrame(1, 77, 0, "whatever") + DataFrame(5, Number(1)) +
             CreditFrame(5, 1) + Call(15, "Echo", Number(6)));
  EXPECT_EQ(ReplyOf(peer->MustRead()).number(), 6);
}

TEST_F(TtrpcWireTest, DataAfterTheEndFailsItsStreamAlone) {
  Start();
  const auto peer = Connect();
  peer->Send(OpenCall(1, "SumLate") + ClosedFrame(1) + DataFrame(1, Number(1)));
  EXPECT_THAT(StatusOf(peer->MustRead()),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("no more")));
  service_.read_late.Set();
  ExpectServes();
}

TEST_F(TtrpcWireTest, FramesThatAreTooLargeAreDroppedAndNamed) {
  Start();
  const auto peer = Connect();
  // Without Hello, 4 MiB.
  peer->Send(Call(1, "Echo", Bytes(ttrpc::kMaxPlainData)));
  EXPECT_THAT(
      StatusOf(peer->MustRead()),
      StatusIs(StatusCode::kResourceExhausted,
               AllOf(HasSubstr("/tests.wire.Probe/Echo"), HasSubstr("limit"))));
  peer->Send(Call(3, "Echo", Bytes(ttrpc::kMaxPlainData - 100)));
  EXPECT_EQ(ReplyOf(peer->MustRead()).data().size(),
            ttrpc::kMaxPlainData - 100);
  peer->Send(Call(5, "Grow", Number(ttrpc::kMaxPlainData)));
  EXPECT_THAT(StatusOf(peer->MustRead()),
              StatusIs(StatusCode::kResourceExhausted,
                       HasSubstr("/tests.wire.Probe/Grow")));
  peer->Send(OpenCall(7, "SumLate") +
             DataFrame(7, Bytes(ttrpc::kMaxPlainData)));
  EXPECT_THAT(StatusOf(peer->MustRead()),
              StatusIs(StatusCode::kResourceExhausted,
                       HasSubstr("/tests.wire.Probe/SumLate")));
  service_.read_late.Set();
  EXPECT_EQ(service_.calls, 1);
}

TEST_F(TtrpcWireTest, HelloAgreesOnLargerMessages) {
  Start();
  const auto peer = Connect();
  const auto agreed = SayHello(*peer);
  EXPECT_EQ(agreed.max_message_bytes(), kMaxMessage);
  EXPECT_TRUE(agreed.cancel());
  EXPECT_TRUE(agreed.credit());
  std::thread sender(
      [&] { peer->Send(Call(3, "Echo", Bytes(kMaxMessage - 100))); });
  EXPECT_EQ(ReplyOf(peer->MustRead()).data().size(), kMaxMessage - 100);
  sender.join();
  peer->Send(Call(5, "Echo", Bytes(kMaxMessage)));
  EXPECT_THAT(StatusOf(peer->MustRead()),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("limit")));
}

TEST_F(TtrpcWireTest, MetadataBeyondTheLimitIsRefusedAndNotKept) {
  Start();
  const auto peer = Connect();
  const auto call = [](std::uint32_t id, std::string_view method,
                       std::uint8_t flags, std::size_t entries) {
    std::string request = absl::StrCat("\x0a\x10", kProbe, "\x12");
    request += static_cast<char>(method.size());
    request += method;
    // Each an empty key and value.
    for (std::size_t i = 0; i < entries; ++i) request.append("\x2a\x00", 2);
    return RawFrame(id, ttrpc::kRequest, flags, request);
  };
  const std::size_t most =
      tandem::rpc::kMaxServedMetadata / tandem::rpc::kMetadataEntryBytes;
  peer->Send(call(1, "Echo", 0, most));
  ReplyOf(peer->MustRead());
  EXPECT_EQ(service_.last_metadata().size(), most);
  for (const std::size_t entries : {most + 1, std::size_t{2'000'000}}) {
    const std::uint32_t id = entries == most + 1 ? 3 : 7;
    peer->Send(call(id, "Echo", 0, entries));
    EXPECT_THAT(StatusOf(peer->MustRead()),
                StatusIs(StatusCode::kResourceExhausted,
                         AllOf(HasSubstr("/tests.wire.Probe/Echo"),
                               HasSubstr("metadata"))));
    peer->Send(call(id + 2, "SumLate", ttrpc::kRemoteOpen, entries));
    EXPECT_THAT(StatusOf(peer->MustRead()),
                StatusIs(StatusCode::kResourceExhausted,
                         HasSubstr("/tests.wire.Probe/SumLate")));
  }
  EXPECT_EQ(service_.calls, 1);
  ttrpc::Request parsed;
  const std::string frame = call(1, "Echo", 0, 2'000'000);
  ASSERT_TRUE(ttrpc::ParseRequest(
      std::string_view(frame).substr(ttrpc::kHeaderBytes), &parsed));
  EXPECT_EQ(parsed.metadata.size(), most);
  ExpectServes();
}

TEST_F(TtrpcWireTest, ALengthThatIsOnlyAnnouncedTakesNoMemory) {
  Start({.max_request_memory = kMaxMessage,
         .max_request_memory_per_uid = kMaxMessage});
  std::vector<std::unique_ptr<TtrpcPeer>> liars;
  for (int i = 0; i < 20; ++i) {
    liars.push_back(Connect());
    SayHello(*liars.back());
    liars.back()->Send(RawFrame(3, ttrpc::kRequest, 0, "x", kMaxMessage));
  }
  const auto peer = Connect();
  SayHello(*peer);
  std::thread sender(
      [&] { peer->Send(Call(3, "Echo", Bytes(kMaxMessage - 100))); });
  EXPECT_EQ(ReplyOf(peer->MustRead()).data().size(), kMaxMessage - 100);
  sender.join();
}

TEST_F(TtrpcWireTest, FramesThatMemoryIsShortForAreRefused) {
  Start({.max_request_memory = kMaxMessage,
         .max_request_memory_per_uid = kMaxMessage});
  const auto holder = Connect();
  SayHello(*holder);
  const std::string frame = Call(3, "Echo", Bytes(kMaxMessage - 100));
  holder->Send(std::string_view(frame).substr(0, frame.size() * 3 / 4));
  const auto peer = Connect();
  SayHello(*peer);
  // Whichever comes second has no room.
  peer->Send(frame);
  const TtrpcPeer::Frame answer = peer->MustRead();
  EXPECT_EQ(answer.header.stream, 3u);
  EXPECT_THAT(StatusOf(answer), StatusIs(StatusCode::kResourceExhausted,
                                         HasSubstr("max_request_memory")));
  holder->Send(std::string_view(frame).substr(frame.size() * 3 / 4));
  EXPECT_EQ(ReplyOf(holder->MustRead()).data().size(), kMaxMessage - 100);
  peer->Send(Call(5, "Echo", Number(5)));
  EXPECT_EQ(ReplyOf(peer->MustRead()).number(), 5);
}

TEST_F(TtrpcWireTest, EmptyMessagesThatAreNotReadTakeMemoryToo) {
  constexpr int kStreams = 8;
  constexpr int kMessages = 30'000;  // Of which one stream may have as many.
  Start({.max_request_memory = kMaxMessage,
         .max_request_memory_per_uid = kMaxMessage});
  const auto peer = Connect();
  std::thread sender([&] {
    for (int i = 0; i < kStreams; ++i) {
      const std::uint32_t id = 2 * i + 1;
      std::string frames = OpenCall(id, "SumLate");
      for (int j = 0; j < kMessages; ++j) frames += DataFrame(id, Item());
      peer->Send(frames);
    }
  });
  EXPECT_THAT(StatusOf(peer->MustRead()),
              StatusIs(StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("/tests.wire.Probe/SumLate"),
                             HasSubstr("max_request_memory"))));
  sender.join();
  service_.read_late.Set();
}

TEST_F(TtrpcWireTest, CancelReachesAUnaryCall) {
  Start();
  const auto peer = Connect();
  SayHello(*peer);
  peer->Send(Call(3, "HangLater", Item()));
  ASSERT_TRUE(service_.began.Wait());
  peer->Send(ClosedFrame(3));
  EXPECT_TRUE(service_.cancelled.Wait());
  EXPECT_THAT(StatusOf(peer->MustRead()), StatusIs(StatusCode::kCancelled));
}

TEST_F(TtrpcWireTest, CancelReachesAStreamWhoseClientHasSaidAll) {
  Start();
  const auto peer = Connect();
  SayHello(*peer);
  peer->Send(StreamCall(3, "Linger", Item()));
  EXPECT_EQ(peer->MustRead().header.type, ttrpc::kData);
  peer->Send(ClosedFrame(3));
  EXPECT_TRUE(service_.cancelled.Wait());
}

TEST_F(TtrpcWireTest, DeadlinesEndCallsOfClientsThatCannotCancel) {
  Start();
  const auto peer = Connect();
  std::uint32_t id = 1;
  // A busy machine may take longer to begin the call than it may take.
  for (std::int64_t nanos = 20'000'000; !service_.began.is_set(); nanos *= 2) {
    peer->Send(RequestFrame(id, "HangLater", nullptr, 0, kProbe, nanos));
    EXPECT_THAT(StatusOf(peer->MustRead()),
                StatusIs(StatusCode::kDeadlineExceeded,
                         HasSubstr("/tests.wire.Probe/HangLater")));
    id += 2;
  }
  EXPECT_TRUE(service_.cancelled.Wait());
}

TEST_F(TtrpcWireTest, AStreamWithoutCreditHoldsBackNoOther) {
  Start();
  const auto peer = Connect();
  SayHello(*peer);
  peer->Send(StreamCall(3, "Flood", Bytes(10000)));
  ASSERT_TRUE(service_.flooded.Wait());
  peer->Send(Call(5, "Echo", Number(5)));
  int messages = 0;
  TtrpcPeer::Frame frame;
  while ((frame = peer->MustRead()).header.stream == 3) ++messages;
  EXPECT_EQ(ReplyOf(frame).number(), 5);
  EXPECT_EQ(messages, 32) << "what every stream may send at first";
  EXPECT_TRUE(peer->IsQuiet());
  // Each grant brings as many.
  peer->Send(CreditFrame(3, 2));
  peer->MustRead();
  peer->MustRead();
  EXPECT_TRUE(peer->IsQuiet());
  peer->Send(CreditFrame(3, 1 << 20));
  messages += 2;
  while (!IsEnd(frame = peer->MustRead())) ++messages;
  EXPECT_EQ(messages, service_.flood + 1);
}

TEST_F(TtrpcWireTest, AClientIsGrantedWhatTheHandlerHasRead) {
  Start();
  const auto peer = Connect();
  SayHello(*peer);
  std::string frames = OpenCall(3, "SumLate");
  for (int i = 0; i < 32; ++i) frames += DataFrame(3, Number(1));
  peer->Send(frames);
  ASSERT_TRUE(service_.began.Wait());
  EXPECT_TRUE(peer->IsQuiet());
  service_.read_late.Set();
  std::uint32_t granted = 0;
  while (granted < 32) {
    const TtrpcPeer::Frame frame = peer->MustRead();
    ASSERT_EQ(frame.header.type, ttrpc::kCredit);
    granted += ttrpc::ParseCredit(frame.data);
  }
  EXPECT_EQ(granted, 32u);
  peer->Send(DataFrame(3, Number(10)) + ClosedFrame(3));
  EXPECT_EQ(ReplyOf(peer->MustRead()).number(), 42);
}

TEST_F(TtrpcWireTest, WhoSendsMoreThanItsCreditLosesTheStream) {
  Start();
  const auto peer = Connect();
  SayHello(*peer);
  std::string frames = OpenCall(3, "SumLate");
  for (int i = 0; i < 33; ++i) frames += DataFrame(3, Number(1));
  peer->Send(frames);
  EXPECT_THAT(StatusOf(peer->MustRead()),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("credit")));
  service_.read_late.Set();
}

TEST_F(TtrpcWireTest, AStreamOfOthersThatIsNotReadFailsAlone) {
  Start();
  const auto peer = Connect();
  peer->Send(OpenCall(1, "SumLate"));
  ASSERT_TRUE(service_.began.Wait());
  const std::string frame = DataFrame(1, Bytes(100'000));
  for (int i = 0; i < 60; ++i) peer->Send(frame);
  EXPECT_THAT(
      StatusOf(peer->MustRead()),
      StatusIs(StatusCode::kResourceExhausted, HasSubstr("reads too slowly")));
  peer->Send(Call(3, "EchoInline", Number(3)));
  EXPECT_EQ(ReplyOf(peer->MustRead()).number(), 3);
  service_.read_late.Set();
}

TEST_F(TtrpcWireTest, WhoDoesNotReadIsNotReadFrom) {
  Start();
  const auto peer = Connect();
  // Answers as large as the requests.
  std::string calls;
  for (std::uint32_t i = 0; i < 5000; ++i) {
    calls += Call(2 * i + 1, "EchoInline", Bytes(10'000));
  }
  std::size_t sent = 0;
  while (sent < calls.size()) {
    pollfd writable = {peer->fd(), POLLOUT, 0};
    if (::poll(&writable, 1, 500) == 0) break;
    const ssize_t took = ::send(peer->fd(), calls.data() + sent,
                                calls.size() - sent, MSG_DONTWAIT);
    ASSERT_GT(took, 0);
    sent += static_cast<std::size_t>(took);
  }
  // What both sockets, the batch and the buffer hold.
  EXPECT_LT(sent, 4u << 20);
  // Then the rest is served.
  std::thread sender([&] { peer->Send(std::string_view(calls).substr(sent)); });
  for (std::uint32_t i = 0; i < 5000; ++i) {
    EXPECT_EQ(peer->MustRead().header.stream, 2 * i + 1);
  }
  sender.join();
}

TEST_F(TtrpcWireTest, WhoDoesNotReadLosesCallsAndThenTheConnection) {
  Start({.write_timeout = absl::Milliseconds(100)});
  const auto peer = Connect();
  peer->Send(Call(1, "HangLater", Item()));
  ASSERT_TRUE(service_.began.Wait());
  peer->Send(Call(3, "Grow", Number(4'000'000)));
  EXPECT_TRUE(service_.cancelled.Wait());
  ASSERT_TRUE(Eventually([&] {
    pollfd ended = {peer->fd(), POLLRDHUP, 0};
    return ::poll(&ended, 1, 0) == 1;
  }));
  ExpectServes();
  // First the call, then the connection.
  const auto channel = tandem::rpc::Channel::Connect(
      dir_.Address("server"), {.wire = tandem::rpc::ClientWire::kTtrpc});
  ASSERT_THAT(channel, IsOk());
  const auto status =
      tandem::rpc::v1::AdminClient(**channel).ServerStatus({}, {});
  ASSERT_THAT(status, IsOk());
  std::uint64_t slow_readers = 0;
  for (const auto& refusal : status->refusals()) {
    if (refusal.reason() == "slow-reader") slow_readers = refusal.count();
  }
  EXPECT_GE(slow_readers, 2u);
}

TEST_F(TtrpcWireTest, AStreamThatIsNotReadIsEndedAndItsNeighboursAreNot) {
  Start({.write_timeout = absl::Milliseconds(100)});
  const auto peer = Connect();
  SayHello(*peer);
  peer->Send(StreamCall(3, "Flood", Bytes(1000)));
  TtrpcPeer::Frame frame;
  while ((frame = peer->MustRead()).header.type == ttrpc::kData) {
  }
  EXPECT_THAT(StatusOf(frame),
              StatusIs(StatusCode::kCancelled, HasSubstr("write_timeout")));
  peer->Send(Call(5, "Echo", Number(5)));
  EXPECT_EQ(ReplyOf(peer->MustRead()).number(), 5);
}

TEST_F(TtrpcWireTest, AHandlerWaitsForASilentClientOnlySoLong) {
  Start({.workers = 1, .read_timeout = absl::Milliseconds(100)});
  const auto peer = Connect();
  peer->Send(OpenCall(1, "First"));
  EXPECT_THAT(StatusOf(peer->MustRead()),
              StatusIs(StatusCode::kCancelled, HasSubstr("read_timeout")));
  peer->Send(Call(3, "Echo", Number(3)));
  EXPECT_EQ(ReplyOf(peer->MustRead()).number(), 3);
}

TEST_F(TtrpcWireTest, AnIdleClientIsKept) {
  Start({.preface_timeout = absl::Milliseconds(50)});
  const auto silent = Connect();
  const auto idle = Connect();
  idle->Send(Call(1, "Echo", Number(1)));
  EXPECT_EQ(ReplyOf(idle->MustRead()).number(), 1);
  absl::SleepFor(absl::Milliseconds(200));
  silent->Send(Call(1, "Echo", Number(1)));
  EXPECT_EQ(ReplyOf(silent->MustRead()).number(), 1);
  idle->Send(Call(3, "Echo", Number(3)));
  EXPECT_EQ(ReplyOf(idle->MustRead()).number(), 3);
}

TEST_F(TtrpcWireTest, AStopLetsCallsEndAndRefusesNewOnes) {
  Start();
  const auto peer = Connect();
  peer->Send(OpenCall(1, "SumLate"));
  ASSERT_TRUE(service_.began.Wait());
  std::thread stop([&] { EXPECT_TRUE(server_->Stop(absl::Seconds(30))); });
  ASSERT_TRUE(Eventually([&, id = 1U]() mutable {
    id += 2;
    peer->Send(Call(id, "EchoInline", Number(1)));
    const TtrpcPeer::Frame frame = peer->MustRead();
    ttrpc::Response response;
    return ttrpc::ParseResponse(frame.data, &response) &&
           absl::IsUnavailable(response.status);
  }));
  peer->Send(DataFrame(1, Number(7)) + ClosedFrame(1));
  service_.read_late.Set();
  EXPECT_EQ(ReplyOf(peer->MustRead()).number(), 7);
  EXPECT_FALSE(peer->Read().has_value()) << "it closes";
  stop.join();
}

TEST_F(TtrpcWireTest, AStopSendsWhatWasAnswered) {
  Start();
  const auto peer = Connect();
  peer->Send(Call(1, "Grow", Number(4'000'000)));
  pollfd readable = {peer->fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&readable, 1, 30'000), 1);
  std::thread stop([&] { EXPECT_TRUE(server_->Stop(absl::Seconds(30))); });
  // The socket is gone: it stops.
  const std::string path = dir_.File("server");
  ASSERT_TRUE(Eventually([&] { return ::access(path.c_str(), F_OK) != 0; }));
  EXPECT_EQ(ReplyOf(peer->MustRead()).data().size(), 4'000'000u);
  EXPECT_FALSE(peer->Read().has_value());
  stop.join();
}

TEST_F(TtrpcWireTest, AStopThatIsInAHurryTellsStreams) {
  Start();
  const auto peer = Connect();
  peer->Send(StreamCall(1, "Linger", Item()));
  EXPECT_EQ(peer->MustRead().header.type, ttrpc::kData);
  EXPECT_TRUE(server_->Stop(absl::ZeroDuration()));
  EXPECT_THAT(StatusOf(peer->MustRead()), StatusIs(StatusCode::kUnavailable));
  EXPECT_TRUE(service_.cancelled.Wait());
}

// What came back, to be compared.
std::string TextOf(const TtrpcPeer::Frame& frame) {
  return absl::StrCat(static_cast<int>(frame.header.type), "/",
                      static_cast<int>(frame.header.flags), ":", frame.data,
                      ";");
}

class FeedTest : public TtrpcWireTest {
 protected:
  // Traffic of all shapes. The answers come in any order, those of a stream in
  // theirs.
  static std::string Frames() {
    Failure failure;
    failure.set_code(9);
    failure.set_message("as asked");
    std::string frames =
        Call(1, "Echo", Number(7)) + Call(3, "EchoInline", Bytes(300)) +
        Call(5, "Fail", failure) + StreamCall(7, "Count", Number(5)) +
        OpenCall(9, "Sum") + OpenCall(11, "Chat");
    for (int i = 0; i < 5; ++i) {
      frames += DataFrame(9, Number(i)) + DataFrame(11, Number(i));
    }
    frames += ClosedFrame(9) + ClosedFrame(11);
    frames += RawFrame(13, ttrpc::kRequest, 0, "\xff");
    frames += RawFrame(15, 200, 9, "unknown");
    frames += Call(17, "Vanished", Number(1));
    return frames;
  }
  static constexpr int kStreams = 8;

  // Sends it in pieces of these sizes, and returns what comes back.
  std::map<std::uint32_t, std::string> Feed(
      const std::function<std::size_t()>& piece) {
    const auto peer = Connect();
    const std::string frames = Frames();
    std::map<std::uint32_t, std::string> answers;
    std::thread sender([&] {
      for (std::size_t at = 0; at < frames.size();) {
        const std::size_t size = std::min(piece(), frames.size() - at);
        peer->Send(std::string_view(frames).substr(at, size));
        at += size;
      }
    });
    for (int ended = 0; ended < kStreams;) {
      const std::optional<TtrpcPeer::Frame> frame = peer->Read();
      if (!frame.has_value()) break;
      answers[frame->header.stream] += TextOf(*frame);
      if (frame->header.type == ttrpc::kResponse || IsEnd(*frame)) ++ended;
    }
    sender.join();
    return answers;
  }
};

TEST_F(FeedTest, TheSameComesBackInWhateverPiecesItArrives) {
  Start();
  const auto whole = Feed([] { return std::size_t{1} << 20; });
  EXPECT_EQ(whole.size(), kStreams);
  EXPECT_EQ(Feed([] { return std::size_t{1}; }), whole);
  std::mt19937 random(1);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Feed([&] { return std::size_t{1} + random() % 40; }), whole);
  }
}

TEST_F(FeedTest, AConnectionMayBeTornAtEachByte) {
  Start();
  const std::size_t descriptors = OpenDescriptors().size();
  const std::string frames = Frames();
  for (std::size_t cut = 0; cut <= frames.size(); ++cut) {
    const auto peer = Connect();
    peer->Send(std::string_view(frames).substr(0, cut));
  }
  ExpectServes();
  EXPECT_TRUE(
      Eventually([&] { return OpenDescriptors().size() <= descriptors; }));
  EXPECT_TRUE(server_->Stop(absl::Seconds(30)));
}

TEST_F(FeedTest, GarbageCostsItsConnectionAlone) {
  Start();
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    std::string garbage = Frames().substr(0, random() % 400);
    for (int n = 0; n < 20; ++n) garbage += static_cast<char>(random());
    for (int n = 0; n < 3 && !garbage.empty(); ++n) {
      garbage[random() % garbage.size()] ^= static_cast<char>(random());
    }
    garbage[0] = '\0';
    const auto peer = Connect();
    (void)::send(peer->fd(), garbage.data(), garbage.size(), MSG_NOSIGNAL);
  }
  ExpectServes();
}

}  // namespace
}  // namespace tests::wire

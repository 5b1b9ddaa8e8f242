// What is read and written by hand is what Protobuf reads and writes.

#include "proto/abci/socket_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/util/delimited_message_util.h"
#include "google/protobuf/util/message_differencer.h"
#include "proto/abci/socket_call.h"
#include "rpc/testing/status_matchers.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::abci {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::util::MessageDifferencer;
using ::tandem::rpc::testing::StatusIs;
using ::tendermint::abci::Request;
using ::tendermint::abci::RequestCheckTx;
using ::tendermint::abci::Response;
using ::testing::HasSubstr;

constexpr std::size_t kMost = 1 << 20;

// As any implementation in Protobuf's terms writes it.
std::string Delimited(const Message& frame) {
  std::string bytes;
  google::protobuf::io::StringOutputStream out(&bytes);
  EXPECT_TRUE(
      google::protobuf::util::SerializeDelimitedToZeroCopyStream(frame, &out));
  return bytes;
}

std::string Appended(std::uint32_t member, const Message& message) {
  rpc::OutputBuffer out;
  const std::size_t bytes = message.ByteSizeLong();
  AppendSocketFrame(out, member, message, bytes);
  EXPECT_EQ(out.size(), SocketFrameBytes(member, bytes));
  return std::string(out.unsent());
}

Request CheckTx(std::string_view tx) {
  Request request;
  request.mutable_check_tx()->set_tx(std::string(tx));
  return request;
}

TEST(SocketFrameTest, EveryMemberIsWrittenAsProtobufWritesIt) {
  for (const Message* frame :
       {static_cast<const Message*>(&Request::default_instance()),
        static_cast<const Message*>(&Response::default_instance())}) {
    for (int i = 0; i < frame->GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor* const member = frame->GetDescriptor()->field(i);
      const std::unique_ptr<Message> whole(frame->New());
      Message* const message =
          whole->GetReflection()->MutableMessage(whole.get(), member);
      EXPECT_EQ(
          Appended(static_cast<std::uint32_t>(member->number()), *message),
          Delimited(*whole))
          << member->full_name();
    }
  }
}

TEST(SocketFrameTest, MessagesOfEverySizeAreWrittenAsProtobufWritesThem) {
  for (std::size_t size = 0; size < 20000; size += size < 300 ? 1 : 97) {
    const Request request = CheckTx(std::string(size, 'x'));
    ASSERT_EQ(Appended(Request::kCheckTxFieldNumber, request.check_tx()),
              Delimited(request))
        << size;
  }
}

TEST(SocketFrameTest, WhatProtobufWroteIsReadOnceItIsAllThere) {
  const std::string first = Delimited(CheckTx(std::string(300, 'a')));
  const std::string bytes = first + Delimited(CheckTx("b"));
  for (std::size_t there = 0; there <= bytes.size(); ++there) {
    SocketFrame frame;
    const absl::StatusOr<bool> read = ReadSocketFrame(
        std::string_view(bytes).substr(0, there), kMost, &frame);
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_EQ(*read, there >= first.size()) << there;
    // As soon as the length is there it is told.
    ASSERT_EQ(frame.bytes, there < 2 ? 0 : first.size()) << there;
    if (!*read) continue;
    ASSERT_EQ(frame.member, Request::kCheckTxFieldNumber);
    RequestCheckTx message;
    ASSERT_TRUE(message.ParseFromArray(frame.message.data(),
                                       static_cast<int>(frame.message.size())));
    ASSERT_EQ(message.tx(), std::string(300, 'a'));
  }
}

TEST(SocketFrameTest, AFrameWithoutAMemberIsOne) {
  SocketFrame frame;
  const absl::StatusOr<bool> read =
      ReadSocketFrame(std::string_view("\0rest", 5), kMost, &frame);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(*read);
  EXPECT_EQ(frame.member, 0U);
  EXPECT_EQ(frame.bytes, 1U);
}

TEST(SocketFrameTest, FieldsOfANewerPeerAreSkipped) {
  Request request = CheckTx("a");
  Reflection const& reflection = *request.GetReflection();
  reflection.MutableUnknownFields(&request)->AddVarint(100, 7);
  reflection.MutableUnknownFields(&request)->AddFixed32(101, 7);
  reflection.MutableUnknownFields(&request)->AddFixed64(102, 7);
  SocketFrame frame;
  const absl::StatusOr<bool> read =
      ReadSocketFrame(Delimited(request), kMost, &frame);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(*read);
  EXPECT_EQ(frame.member, Request::kCheckTxFieldNumber);
}

TEST(SocketFrameTest, WhatIsAnnouncedBeyondTheLimitIsRefusedBeforeItComes) {
  const std::string bytes = Delimited(CheckTx(std::string(1000, 'x')));
  SocketFrame frame;
  // The length is what counts, without itself.
  EXPECT_TRUE(ReadSocketFrame(bytes, bytes.size() - 2, &frame).ok());
  EXPECT_THAT(
      ReadSocketFrame(bytes.substr(0, 2), bytes.size() - 3, &frame),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("announces")));
}

TEST(SocketFrameTest, WhatIsNoFrameIsRefused) {
  SocketFrame frame;
  for (const std::string_view bytes :
       {std::string_view("\x02\x0f\x00", 3),      // a type there is not
        std::string_view("\x02\x02\x00", 3),      // the field 0
        std::string_view("\x02\x0a\x05", 3),      // longer than the frame
        std::string_view("\x01\x0a", 2),          // no length
        std::string_view("\x03\x0d\x01\x02", 4),  // half a number
        std::string_view("\x01\x80", 2)}) {       // half a tag
    EXPECT_THAT(ReadSocketFrame(bytes, kMost, &frame),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("no Request or Response")));
  }
  EXPECT_THAT(ReadSocketFrame(std::string(10, '\xff'), kMost, &frame),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(SocketCallTest, EveryMethodHasItsMembers) {
  std::set<std::uint32_t> requests;
  std::set<std::uint32_t> responses = {kExceptionMember};
  for (const SocketCall& call : SocketCalls()) {
    requests.insert(call.request_member);
    responses.insert(call.response_member);
    EXPECT_EQ(SocketCallOf(call.request_member), &call);
    EXPECT_EQ(SocketCallOf(*call.method), &call);
  }
  const auto members = [](const google::protobuf::Descriptor* frame) {
    std::set<std::uint32_t> numbers;
    for (int i = 0; i < frame->field_count(); ++i) {
      numbers.insert(static_cast<std::uint32_t>(frame->field(i)->number()));
    }
    return numbers;
  };
  EXPECT_EQ(requests, members(Request::descriptor()));
  EXPECT_EQ(responses, members(Response::descriptor()));
  EXPECT_EQ(kExceptionMember, Response::kExceptionFieldNumber);
  EXPECT_EQ(FlushCall().response_member, Response::kFlushFieldNumber);
}

TEST(SocketCallTest, OtherMembersAreNoCalls) {
  for (const std::uint32_t member : {0U, 4U, 7U, 9U, 10U, 23U, 31U, 32U, ~0U}) {
    EXPECT_EQ(SocketCallOf(member), nullptr) << member;
  }
}

}  // namespace
}  // namespace tandem::abci

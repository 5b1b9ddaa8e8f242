#include "tests/rpc/wire/ttrpc_peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <utility>

#include "gtest/gtest.h"
#include "rpc/wire/frames/output_buffer.h"

namespace tests::wire {

namespace ttrpc = tandem::rpc::ttrpc;
using google::protobuf::MessageLite;
using tandem::rpc::OutputBuffer;

namespace {

template <typename Append>
std::string Bytes(Append append) {
  OutputBuffer out;
  append(out);
  return std::string(out.unsent());
}

ttrpc::Payload PayloadOf(const MessageLite& message) {
  return {.message = &message, .bytes = message.ByteSizeLong()};
}

}  // namespace

std::string ReplyFrame(std::uint32_t id, const MessageLite& message) {
  return Bytes([&](OutputBuffer& out) {
    ttrpc::AppendReply(out, id, PayloadOf(message));
  });
}

std::string ErrorFrame(std::uint32_t id, const absl::Status& status) {
  return Bytes([&](OutputBuffer& out) { ttrpc::AppendError(out, id, status); });
}

std::string DataFrame(std::uint32_t id, const MessageLite& message) {
  return Bytes([&](OutputBuffer& out) {
    ttrpc::AppendData(out, id, PayloadOf(message));
  });
}

std::string ClosedFrame(std::uint32_t id) {
  return Bytes([&](OutputBuffer& out) { ttrpc::AppendClosed(out, id); });
}

std::string CreditFrame(std::uint32_t id, std::uint32_t messages) {
  return Bytes(
      [&](OutputBuffer& out) { ttrpc::AppendCredit(out, id, messages); });
}

ttrpc::Request TtrpcPeer::Frame::request() const {
  ttrpc::Request request;
  EXPECT_EQ(header.type, ttrpc::kRequest);
  EXPECT_TRUE(ttrpc::ParseRequest(data, &request));
  return request;
}

TtrpcPeer::TtrpcPeer(tandem::rpc::UniqueFd fd) : fd_(std::move(fd)) {
  const timeval timeout = {.tv_sec = 30, .tv_usec = 0};
  EXPECT_EQ(::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout,
                         sizeof(timeout)),
            0);
}

std::optional<TtrpcPeer::Frame> TtrpcPeer::Read() {
  std::string header;
  if (!ReadFully(&header, ttrpc::kHeaderBytes)) return std::nullopt;
  Frame frame = {.header = ttrpc::ParseHeader(header.data()), .data = {}};
  if (!ReadFully(&frame.data, frame.header.data_bytes)) return std::nullopt;
  return frame;
}

TtrpcPeer::Frame TtrpcPeer::MustRead() {
  std::optional<Frame> frame = Read();
  EXPECT_TRUE(frame.has_value()) << "no frame comes";
  return frame.value_or(Frame());
}

bool TtrpcPeer::IsQuiet() {
  pollfd readable = {fd_.get(), POLLIN, 0};
  return ::poll(&readable, 1, 0) == 0;
}

void TtrpcPeer::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent =
        ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ASSERT_GT(sent, 0) << "the client has closed the connection";
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

bool TtrpcPeer::ReadFully(std::string* into, std::size_t bytes) {
  into->resize(bytes);
  std::size_t got = 0;
  while (got < bytes) {
    const ssize_t n = ::recv(fd_.get(), into->data() + got, bytes - got, 0);
    if (n <= 0) return false;
    got += static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace tests::wire

// ttrpc as it travels: frames, and the messages that open and end a call.

#ifndef TANDEM_RPC_WIRE_TTRPC_FRAME_H_
#define TANDEM_RPC_WIRE_TTRPC_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"
#include "rpc/wire/frames/output_buffer.h"
#include "rpc/wire/metadata.h"
#include "rpc/wire/verdict.h"

// The protocol is that of github.com/containerd/ttrpc (PROTOCOL.md there). Its
// envelopes are a few fields around a message, so they are read and written by
// hand, and the message is neither copied into them nor out of them.
//
// Functions here are thread-safe.
namespace tandem::rpc::ttrpc {

inline constexpr std::size_t kHeaderBytes = 10;
// The most that a frame carries where nothing else was agreed on.
inline constexpr std::size_t kMaxPlainData = 4 << 20;
// The messages that may be sent on a stream before credit is granted, where
// that was agreed on.
inline constexpr std::uint32_t kInitialCredit = 32;

enum FrameType : std::uint8_t {
  kRequest = 1,   // Opens a stream.
  kResponse = 2,  // Ends it.
  kData = 3,      // A message on it.
  // Ours, where both sides agreed on it (TtrpcExtensions in session.proto).
  kCredit = 4,
};

enum FrameFlags : std::uint8_t {
  kRemoteClosed = 1,  // Who sends this sends nothing after it.
  kRemoteOpen = 2,    // Of a Request: Data frames follow.
  kNoData = 4,        // There is no message in it, not even an empty one.
};

struct FrameHeader {
  std::uint32_t data_bytes = 0;
  std::uint32_t stream = 0;
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
};

// A frame has less than 16 MiB, so the first of its length's bytes is 0, and
// nothing else begins so.
inline Verdict JudgeFirstBytes(std::string_view seen) {
  return seen.front() == '\0' ? Verdict::kMine : Verdict::kNotMine;
}

// `bytes` are kHeaderBytes.
FrameHeader ParseHeader(const char* bytes);

// What a Request says. Names and payload are within the frame.
struct Request {
  std::string_view service;  // "kv.v1.Store"
  std::string_view method;   // "Get"
  std::string_view payload;
  // How long the client waits; 0: for ever.
  std::int64_t timeout_nanos = 0;
  Metadata metadata;
  // What it counts against kMaxServedMetadata; what goes beyond that is counted
  // only.
  std::size_t metadata_bytes = 0;
};

// False when `data` is no Request.
bool ParseRequest(std::string_view data, Request* into);

// The names in the first bytes of a Request that is too large to be read; empty
// where they are not there.
void ParseNames(std::string_view beginning, Request* into);

// What a Response says.
struct Response {
  absl::Status status;  // With details, as payloads.
  std::string_view payload;
};

// False when `data` is no Response.
bool ParseResponse(std::string_view data, Response* into);

// The `data` of a Credit frame; 0 when it is none.
std::uint32_t ParseCredit(std::string_view data);

// A message to be put into a frame. ByteSizeLong() was asked for last by who
// makes this, and fits into an int.
struct Payload {
  const google::protobuf::MessageLite* message = nullptr;
  std::size_t bytes = 0;
};

// How many bytes of data the frame has.
std::size_t RequestBytes(const Request& request, const Payload& payload);

// Each appends one frame to `out`. Frames of more data than the other side
// takes are the caller's to refuse.

// `request.payload` is not looked at.
void AppendRequest(OutputBuffer& out, std::uint32_t stream, std::uint8_t flags,
                   const Request& request, const Payload& payload);
// The answer that is a message.
void AppendReply(OutputBuffer& out, std::uint32_t stream,
                 const Payload& payload);
// The answer that is an error, or the end of a stream with one. What is too
// long of message and details is left out, and where the message is no UTF-8,
// '?' is written.
void AppendError(OutputBuffer& out, std::uint32_t stream,
                 const absl::Status& error);
// A message of a stream.
void AppendData(OutputBuffer& out, std::uint32_t stream,
                const Payload& payload);
// This side sends no more. From a client that has said so already, or of a
// unary call: it gives the call up, where that was agreed on.
void AppendClosed(OutputBuffer& out, std::uint32_t stream);
// The other side may send as many messages more.
void AppendCredit(OutputBuffer& out, std::uint32_t stream,
                  std::uint32_t messages);

}  // namespace tandem::rpc::ttrpc

#endif  // TANDEM_RPC_WIRE_TTRPC_FRAME_H_

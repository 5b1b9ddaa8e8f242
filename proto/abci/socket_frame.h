// The ABCI socket protocol as it travels: frames that follow one another.

#ifndef TANDEM_PROTO_ABCI_SOCKET_FRAME_H_
#define TANDEM_PROTO_ABCI_SOCKET_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"
#include "rpc/wire/frames/output_buffer.h"
#include "rpc/wire/verdict.h"

// A frame is an unsigned varint, which is the length of what follows, and a
// tendermint.abci.Request or Response (CometBFT,
// spec/abci/abci++_client_server: "TSP"). These hold one member of their oneof,
// whose field number says what is asked or answered; so they are read and
// written by hand, and the member's message is neither copied into them nor out
// of them.
//
// Functions here are thread-safe.
namespace tandem::abci {

struct SocketFrame {
  // The number of the member that is set. 0: none is, which no peer has reason
  // to send.
  std::uint32_t member = 0;
  // Its message; within the bytes that were read.
  std::string_view message;
  // Of the frame, its length included. While it has not all come: of what must
  // come at least, where that is known, else 0.
  std::size_t bytes = 0;
};

// Reads the frame that `bytes` begin with; false: more must come. Errors, after
// which nothing on this connection makes sense:
//   kResourceExhausted  it announces more than `max_bytes`
//   kInvalidArgument    it is no frame
absl::StatusOr<bool> ReadSocketFrame(std::string_view bytes,
                                     std::size_t max_bytes, SocketFrame* into);

// Whether `seen`, the first bytes of a connection, begin a frame with a member;
// `member` is that once it says kMine.
rpc::Verdict JudgeSocketFrame(std::string_view seen, std::uint32_t* member);

// How many bytes the frame of a member with a message of so many has.
std::size_t SocketFrameBytes(std::uint32_t member, std::size_t message_bytes);

// Appends the frame. `message.ByteSizeLong()` was asked for last, and said
// `message_bytes`.
void AppendSocketFrame(rpc::OutputBuffer& out, std::uint32_t member,
                       const google::protobuf::MessageLite& message,
                       std::size_t message_bytes);

}  // namespace tandem::abci

#endif  // TANDEM_PROTO_ABCI_SOCKET_FRAME_H_

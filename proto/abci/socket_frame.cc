#include "proto/abci/socket_frame.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "rpc/wire/frames/fields.h"

namespace tandem::abci {
namespace {

using rpc::FieldType;
using rpc::PutVarint;
using rpc::Taken;
using rpc::TakeVarint;
using rpc::VarintBytes;

// Of a frame, for CometBFT since 0.38.3.
constexpr std::uint64_t kMaxLength = (std::uint64_t{1} << 31) - 1;

constexpr std::uint64_t TagOf(std::uint32_t member) {
  return rpc::FieldTag(member, FieldType::kLength);
}

// Of a Request or Response.
std::size_t ContentBytes(std::uint32_t member, std::size_t message_bytes) {
  return VarintBytes(TagOf(member)) + VarintBytes(message_bytes) +
         message_bytes;
}

}  // namespace

absl::StatusOr<bool> ReadSocketFrame(std::string_view bytes,
                                     std::size_t max_bytes, SocketFrame* into) {
  *into = {};
  std::string_view rest = bytes;
  std::uint64_t length = 0;
  switch (TakeVarint(&rest, &length)) {
    case Taken::kAll:
      break;
    case Taken::kNeedMore:
      return false;
    case Taken::kBroken:
      return absl::InvalidArgumentError("a frame begins with no length");
  }
  if (length > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a frame announces ", length, " bytes, of which ",
                     max_bytes, " are allowed"));
  }
  into->bytes = bytes.size() - rest.size() + length;
  if (length > rest.size()) return false;
  rpc::Fields fields(rest.substr(0, length));
  while (fields.Next()) {
    // Whatever else there is comes from a newer peer.
    if (fields.type() != FieldType::kLength || into->member != 0) continue;
    into->member = fields.number();
    into->message = fields.bytes();
  }
  if (!fields.is_right()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a frame of ", length, " bytes is no Request or Response of ABCI"));
  }
  return true;
}

rpc::Verdict JudgeSocketFrame(std::string_view seen, std::uint32_t* member) {
  std::uint64_t length = 0;
  std::uint64_t tag = 0;
  for (std::uint64_t* const value : {&length, &tag}) {
    switch (TakeVarint(&seen, value)) {
      case Taken::kAll:
        break;
      case Taken::kNeedMore:
        return rpc::Verdict::kNeedMore;
      case Taken::kBroken:
        return rpc::Verdict::kNotMine;
    }
  }
  const std::uint64_t number = tag >> 3;
  if (length > kMaxLength || number > UINT32_MAX ||
      tag != TagOf(static_cast<std::uint32_t>(number))) {
    return rpc::Verdict::kNotMine;
  }
  *member = static_cast<std::uint32_t>(number);
  return rpc::Verdict::kMine;
}

std::size_t SocketFrameBytes(std::uint32_t member, std::size_t message_bytes) {
  const std::size_t content = ContentBytes(member, message_bytes);
  return VarintBytes(content) + content;
}

void AppendSocketFrame(rpc::OutputBuffer& out, std::uint32_t member,
                       const google::protobuf::MessageLite& message,
                       std::size_t message_bytes) {
  char* at = out.Extend(SocketFrameBytes(member, message_bytes));
  at = PutVarint(at, ContentBytes(member, message_bytes));
  at = PutVarint(at, TagOf(member));
  at = PutVarint(at, message_bytes);
  message.SerializeWithCachedSizesToArray(reinterpret_cast<std::uint8_t*>(at));
}

}  // namespace tandem::abci

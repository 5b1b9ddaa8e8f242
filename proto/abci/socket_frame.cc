#include "proto/abci/socket_frame.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tandem::abci {
namespace {

// Types of fields as they travel.
enum : std::uint32_t { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };

// Of a frame, for CometBFT since 0.38.3.
constexpr std::uint64_t kMaxLength = (std::uint64_t{1} << 31) - 1;
// A varint of more bytes says nothing more.
constexpr std::size_t kMaxVarintBytes = 10;

enum class Taken : std::uint8_t { kAll, kNeedMore, kBroken };

Taken TakeVarint(std::string_view* from, std::uint64_t* value) {
  *value = 0;
  for (std::size_t i = 0; i < kMaxVarintBytes; ++i) {
    if (i == from->size()) return Taken::kNeedMore;
    const auto byte = static_cast<std::uint8_t>((*from)[i]);
    *value |= std::uint64_t{byte & 0x7fU} << (7 * i);
    if (byte < 0x80) {
      from->remove_prefix(i + 1);
      return Taken::kAll;
    }
  }
  return Taken::kBroken;
}

bool TakeBytes(std::string_view* from, std::uint64_t bytes,
               std::string_view* into) {
  if (bytes > from->size()) return false;
  *into = from->substr(0, bytes);
  from->remove_prefix(bytes);
  return true;
}

struct Field {
  std::uint32_t number = 0;
  std::uint32_t type = 0;
  std::string_view bytes;  // Of kLength.
};

bool TakeField(std::string_view* from, Field* field) {
  std::uint64_t tag = 0;
  std::uint64_t value = 0;
  if (TakeVarint(from, &tag) != Taken::kAll || tag > UINT32_MAX) return false;
  field->number = static_cast<std::uint32_t>(tag >> 3);
  field->type = tag & 7;
  if (field->number == 0) return false;
  switch (field->type) {
    case kVarint:
      return TakeVarint(from, &value) == Taken::kAll;
    case kFixed64:
      return TakeBytes(from, 8, &field->bytes);
    case kFixed32:
      return TakeBytes(from, 4, &field->bytes);
    case kLength:
      return TakeVarint(from, &value) == Taken::kAll &&
             TakeBytes(from, value, &field->bytes);
    default:
      return false;
  }
}

std::size_t VarintBytes(std::uint64_t value) {
  std::size_t bytes = 1;
  for (; value >= 0x80; value >>= 7) ++bytes;
  return bytes;
}

char* PutVarint(char* at, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) *at++ = static_cast<char>(value | 0x80);
  *at++ = static_cast<char>(value);
  return at;
}

constexpr std::uint64_t TagOf(std::uint32_t member) {
  return std::uint64_t{member} << 3 | kLength;
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
  std::string_view content;
  if (!TakeBytes(&rest, length, &content)) return false;
  while (!content.empty()) {
    Field field;
    if (!TakeField(&content, &field)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a frame of ", length, " bytes is no Request or Response of ABCI"));
    }
    // Whatever else there is comes from a newer peer.
    if (field.type != kLength || into->member != 0) continue;
    into->member = field.number;
    into->message = field.bytes;
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
  if (length > kMaxLength || (tag & 7) != kLength || tag >> 3 > UINT32_MAX) {
    return rpc::Verdict::kNotMine;
  }
  *member = static_cast<std::uint32_t>(tag >> 3);
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

#include "rpc/wire/ttrpc/frame.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/cord.h"
#include "rpc/wire/frames/fields.h"

namespace tandem::rpc::ttrpc {
namespace {

using google::protobuf::MessageLite;

// What goes into an error at most: it has to get through where a reply does
// not.
constexpr std::size_t kMaxErrorText = 64 << 10;

// Of a field with a number below 16.
constexpr char Tag(std::uint32_t number, FieldType type) {
  return static_cast<char>(FieldTag(number, type));
}

std::uint32_t LoadBigEndian(const char* bytes) {
  std::uint32_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return __builtin_bswap32(value);
}

char* PutBigEndian(char* at, std::uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(at, &value, sizeof(value));
  return at + sizeof(value);
}

// Of a field with a number below 16 that is left out where it is empty.
std::size_t FieldBytes(std::size_t bytes) {
  return bytes == 0 ? 0 : 1 + VarintBytes(bytes) + bytes;
}

char* PutLength(char* at, std::uint32_t number, std::size_t bytes) {
  *at++ = Tag(number, FieldType::kLength);
  return PutVarint(at, bytes);
}

char* PutBytes(char* at, std::uint32_t number, std::string_view bytes) {
  if (bytes.empty()) return at;
  at = PutLength(at, number, bytes.size());
  std::memcpy(at, bytes.data(), bytes.size());
  return at + bytes.size();
}

char* PutMessage(char* at, const Payload& payload) {
  return reinterpret_cast<char*>(
      payload.message->SerializeWithCachedSizesToArray(
          reinterpret_cast<std::uint8_t*>(at)));
}

char* PutPayload(char* at, std::uint32_t number, const Payload& payload) {
  if (payload.bytes == 0) return at;
  return PutMessage(PutLength(at, number, payload.bytes), payload);
}

// Begins a frame whose `data_bytes` the caller puts where this points to.
char* BeginFrame(OutputBuffer& out, std::uint32_t stream, FrameType type,
                 std::uint8_t flags, std::size_t data_bytes) {
  char* at = out.Extend(kHeaderBytes + data_bytes);
  at = PutBigEndian(at, static_cast<std::uint32_t>(data_bytes));
  at = PutBigEndian(at, stream);
  *at++ = static_cast<char>(type);
  *at++ = static_cast<char>(flags);
  return at;
}

// Two strings, the fields 1 and 2: a KeyValue, or an Any.
struct Pair {
  std::string_view first;
  std::string_view second;
};

bool ParsePair(std::string_view data, Pair* into) {
  Fields fields(data);
  while (fields.Next()) {
    if (fields.Is(1, FieldType::kLength)) into->first = fields.bytes();
    if (fields.Is(2, FieldType::kLength)) into->second = fields.bytes();
  }
  return fields.is_right();
}

std::size_t PairBytes(const Pair& pair) {
  return FieldBytes(pair.first.size()) + FieldBytes(pair.second.size());
}

char* PutPair(char* at, std::uint32_t number, const Pair& pair) {
  at = PutLength(at, number, PairBytes(pair));
  return PutBytes(PutBytes(at, 1, pair.first), 2, pair.second);
}

std::size_t PairFieldBytes(const Pair& pair) {
  const std::size_t bytes = PairBytes(pair);
  return 1 + VarintBytes(bytes) + bytes;
}

absl::StatusCode CodeOf(std::uint64_t code) {
  return code <= static_cast<std::uint64_t>(absl::StatusCode::kUnauthenticated)
             ? static_cast<absl::StatusCode>(code)
             : absl::StatusCode::kUnknown;
}

bool ParseStatus(std::string_view data, absl::Status* into) {
  std::uint64_t code = 0;
  std::string_view message;
  Fields fields(data);
  while (fields.Next()) {
    if (fields.Is(1, FieldType::kVarint)) code = fields.value();
    if (fields.Is(2, FieldType::kLength)) message = fields.bytes();
  }
  if (!fields.is_right()) return false;
  *into = absl::Status(CodeOf(code), {message.data(), message.size()});
  if (into->ok()) return true;
  for (Fields details(data); details.Next();) {
    if (!details.Is(3, FieldType::kLength)) continue;
    Pair any;
    if (!ParsePair(details.bytes(), &any)) return false;
    into->SetPayload({any.first.data(), any.first.size()},
                     absl::Cord({any.second.data(), any.second.size()}));
  }
  return true;
}

// How many bytes the character that `text` begins with has; 0 where it is none.
std::size_t CharacterBytes(std::string_view text) {
  const auto byte = [text](std::size_t i) {
    return i < text.size() ? static_cast<std::uint8_t>(text[i]) : 0U;
  };
  const auto is_next = [&byte](std::size_t i) {
    return (byte(i) & 0xc0U) == 0x80;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return is_next(1) ? 2 : 0;
  if (first >= 0xe0 && first < 0xf0) {
    // No longer than needed, and no surrogate.
    if ((first == 0xe0 && byte(1) < 0xa0) ||
        (first == 0xed && byte(1) >= 0xa0)) {
      return 0;
    }
    return is_next(1) && is_next(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first < 0xf5) {
    if ((first == 0xf0 && byte(1) < 0x90) ||
        (first == 0xf4 && byte(1) >= 0x90)) {
      return 0;
    }
    return is_next(1) && is_next(2) && is_next(3) ? 4 : 0;
  }
  return 0;
}

// Protobuf's strings are UTF-8, and parsers refuse others.
std::string Utf8(std::string_view text, std::size_t max_bytes) {
  std::string valid;
  while (!text.empty()) {
    const std::size_t bytes = CharacterBytes(text);
    if (valid.size() + std::max<std::size_t>(bytes, 1) > max_bytes) {
      return valid + "...";
    }
    if (bytes == 0) {
      valid += '?';
    } else {
      valid.append(text.substr(0, bytes));
    }
    text.remove_prefix(std::max<std::size_t>(bytes, 1));
  }
  return valid;
}

// A google.rpc.Status.
std::string StatusBytes(const absl::Status& error) {
  const std::string message =
      Utf8({error.message().data(), error.message().size()}, kMaxErrorText);
  std::string bytes(1, Tag(1, FieldType::kVarint));
  bytes += static_cast<char>(error.code());
  const auto append = [&bytes](std::size_t size, auto put) {
    const std::size_t before = bytes.size();
    bytes.resize(before + size);
    put(bytes.data() + before);
  };
  append(FieldBytes(message.size()),
         [&message](char* at) { PutBytes(at, 2, message); });
  error.ForEachPayload([&](absl::string_view type, const absl::Cord& value) {
    if (bytes.size() + type.size() + value.size() > 2 * kMaxErrorText) return;
    const std::string flat(value);
    const Pair any = {{type.data(), type.size()}, flat};
    append(PairFieldBytes(any), [&any](char* at) { PutPair(at, 3, any); });
  });
  return bytes;
}

}  // namespace

FrameHeader ParseHeader(const char* bytes) {
  return {.data_bytes = LoadBigEndian(bytes),
          .stream = LoadBigEndian(bytes + 4),
          .type = static_cast<std::uint8_t>(bytes[8]),
          .flags = static_cast<std::uint8_t>(bytes[9])};
}

bool ParseRequest(std::string_view data, Request* into) {
  Fields fields(data);
  while (fields.Next()) {
    if (fields.Is(1, FieldType::kLength)) into->service = fields.bytes();
    if (fields.Is(2, FieldType::kLength)) into->method = fields.bytes();
    if (fields.Is(3, FieldType::kLength)) into->payload = fields.bytes();
    if (fields.Is(4, FieldType::kVarint)) {
      into->timeout_nanos = static_cast<std::int64_t>(fields.value());
    }
    if (fields.Is(5, FieldType::kLength)) {
      Pair pair;
      if (!ParsePair(fields.bytes(), &pair)) return false;
      into->metadata_bytes +=
          pair.first.size() + pair.second.size() + kMetadataEntryBytes;
      if (into->metadata_bytes > kMaxServedMetadata) continue;
      into->metadata.emplace_back(pair.first, pair.second);
    }
  }
  return fields.is_right();
}

void ParseNames(std::string_view beginning, Request* into) {
  Fields fields(beginning);
  while (fields.Next()) {
    if (fields.Is(1, FieldType::kLength)) into->service = fields.bytes();
    if (fields.Is(2, FieldType::kLength)) into->method = fields.bytes();
  }
}

bool ParseResponse(std::string_view data, Response* into) {
  Fields fields(data);
  while (fields.Next()) {
    if (fields.Is(1, FieldType::kLength) &&
        !ParseStatus(fields.bytes(), &into->status)) {
      return false;
    }
    if (fields.Is(2, FieldType::kLength)) into->payload = fields.bytes();
  }
  return fields.is_right();
}

std::uint32_t ParseCredit(std::string_view data) {
  return data.size() == 4 ? LoadBigEndian(data.data()) : 0;
}

std::size_t RequestBytes(const Request& request, const Payload& payload) {
  std::size_t bytes = FieldBytes(request.service.size()) +
                      FieldBytes(request.method.size()) +
                      FieldBytes(payload.bytes);
  if (request.timeout_nanos != 0) {
    bytes += 1 + VarintBytes(static_cast<std::uint64_t>(request.timeout_nanos));
  }
  for (const auto& [key, value] : request.metadata) {
    bytes += PairFieldBytes({key, value});
  }
  return bytes;
}

void AppendRequest(OutputBuffer& out, std::uint32_t stream, std::uint8_t flags,
                   const Request& request, const Payload& payload) {
  char* at =
      BeginFrame(out, stream, kRequest, flags, RequestBytes(request, payload));
  at = PutBytes(at, 1, request.service);
  at = PutBytes(at, 2, request.method);
  at = PutPayload(at, 3, payload);
  if (request.timeout_nanos != 0) {
    *at++ = Tag(4, FieldType::kVarint);
    at = PutVarint(at, static_cast<std::uint64_t>(request.timeout_nanos));
  }
  for (const auto& [key, value] : request.metadata) {
    at = PutPair(at, 5, {key, value});
  }
}

void AppendReply(OutputBuffer& out, std::uint32_t stream,
                 const Payload& payload) {
  PutPayload(BeginFrame(out, stream, kResponse, 0, FieldBytes(payload.bytes)),
             2, payload);
}

void AppendError(OutputBuffer& out, std::uint32_t stream,
                 const absl::Status& error) {
  const std::string status = StatusBytes(error);
  PutBytes(BeginFrame(out, stream, kResponse, 0, FieldBytes(status.size())), 1,
           status);
}

void AppendData(OutputBuffer& out, std::uint32_t stream,
                const Payload& payload) {
  char* const at = BeginFrame(out, stream, kData, 0, payload.bytes);
  if (payload.bytes > 0) PutMessage(at, payload);
}

void AppendClosed(OutputBuffer& out, std::uint32_t stream) {
  BeginFrame(out, stream, kData, kRemoteClosed | kNoData, 0);
}

void AppendCredit(OutputBuffer& out, std::uint32_t stream,
                  std::uint32_t messages) {
  PutBigEndian(BeginFrame(out, stream, kCredit, 0, 4), messages);
}

}  // namespace tandem::rpc::ttrpc

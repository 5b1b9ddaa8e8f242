#include "rpc/wire/ttrpc/frame.h"

#include <cstring>
#include <string>

#include "rpc/wire/error_bytes.h"
#include "rpc/wire/frames/fields.h"

namespace tandem::rpc::ttrpc {
namespace {

using google::protobuf::MessageLite;

// What goes into an error at most: it has to get through where a reply does
// not.
constexpr std::size_t kMaxErrorText = 64 << 10;

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
        !ParseErrorBytes(fields.bytes(), &into->status)) {
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
  const std::string status =
      ErrorBytes(error, kMaxErrorText, 2 * kMaxErrorText);
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

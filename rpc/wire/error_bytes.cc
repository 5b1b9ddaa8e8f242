#include "rpc/wire/error_bytes.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/cord.h"
#include "rpc/wire/frames/fields.h"

namespace tandem::rpc {
namespace {

absl::StatusCode CodeOf(std::uint64_t code) {
  return code <= static_cast<std::uint64_t>(absl::StatusCode::kUnauthenticated)
             ? static_cast<absl::StatusCode>(code)
             : absl::StatusCode::kUnknown;
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

}  // namespace

std::string ErrorBytes(const absl::Status& error, std::size_t max_message,
                       std::size_t max_bytes) {
  const std::string message =
      Utf8({error.message().data(), error.message().size()}, max_message);
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
    if (value.size() > max_bytes) return;
    const std::string flat(value);
    const Pair any = {{type.data(), type.size()}, flat};
    if (bytes.size() + PairFieldBytes(any) > max_bytes) return;
    append(PairFieldBytes(any), [&any](char* at) { PutPair(at, 3, any); });
  });
  return bytes;
}

bool ParseErrorBytes(std::string_view data, absl::Status* into) {
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

}  // namespace tandem::rpc

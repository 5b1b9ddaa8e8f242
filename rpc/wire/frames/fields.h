// The fields of a Protobuf message as they travel, for the envelopes that are
// read and written by hand: what is inside them is then copied nowhere.

#ifndef TANDEM_RPC_WIRE_FRAMES_FIELDS_H_
#define TANDEM_RPC_WIRE_FRAMES_FIELDS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

// https://protobuf.dev/programming-guides/encoding. In a header, since every
// frame goes through here.
namespace tandem::rpc {

enum class FieldType : std::uint8_t {
  kVarint = 0,
  kFixed64 = 1,
  kLength = 2,
  kFixed32 = 5,
};

// What a field begins with, as a varint.
constexpr std::uint64_t FieldTag(std::uint32_t number, FieldType type) {
  return std::uint64_t{number} << 3 | static_cast<std::uint8_t>(type);
}

constexpr std::size_t VarintBytes(std::uint64_t value) {
  std::size_t bytes = 1;
  for (; value >= 0x80; value >>= 7) ++bytes;
  return bytes;
}

// Returns where what follows it goes.
inline char* PutVarint(char* at, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) *at++ = static_cast<char>(value | 0x80);
  *at++ = static_cast<char>(value);
  return at;
}

// Fields with a number below 16, whose tag is one byte.

constexpr char Tag(std::uint32_t number, FieldType type) {
  return static_cast<char>(FieldTag(number, type));
}

// Of one that is left out where it is empty.
constexpr std::size_t FieldBytes(std::size_t bytes) {
  return bytes == 0 ? 0 : 1 + VarintBytes(bytes) + bytes;
}

inline char* PutLength(char* at, std::uint32_t number, std::size_t bytes) {
  *at++ = Tag(number, FieldType::kLength);
  return PutVarint(at, bytes);
}

inline char* PutBytes(char* at, std::uint32_t number, std::string_view bytes) {
  if (bytes.empty()) return at;
  at = PutLength(at, number, bytes.size());
  std::memcpy(at, bytes.data(), bytes.size());
  return at + bytes.size();
}

enum class Taken : std::uint8_t {
  kAll,
  kNeedMore,  // What is there is the beginning of one.
  kBroken,
};

// Takes a varint from the front of `from`.
inline Taken TakeVarint(std::string_view* from, std::uint64_t* value) {
  constexpr std::size_t kMaxBytes = 10;  // More say nothing more.
  *value = 0;
  for (std::size_t i = 0; i < kMaxBytes; ++i) {
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

// Goes through the fields of a message.
class Fields {
 public:
  explicit Fields(std::string_view message) : left_(message) {}

  // False at the end, and at what is no field.
  bool Next() {
    if (left_.empty()) return false;
    bytes_ = {};
    value_ = 0;
    return is_right_ = TakeField();
  }

  std::uint32_t number() const { return static_cast<std::uint32_t>(tag_ >> 3); }
  FieldType type() const { return static_cast<FieldType>(tag_ & 7); }
  bool Is(std::uint32_t number, FieldType type) const {
    return tag_ == FieldTag(number, type);
  }
  // Of kVarint.
  std::uint64_t value() const { return value_; }
  // Of the others; within the message.
  std::string_view bytes() const { return bytes_; }
  // Everything so far was a field.
  bool is_right() const { return is_right_; }

 private:
  bool TakeField() {
    if (TakeVarint(&left_, &tag_) != Taken::kAll || tag_ > UINT32_MAX ||
        number() == 0) {
      return false;
    }
    switch (type()) {
      case FieldType::kVarint:
        return TakeVarint(&left_, &value_) == Taken::kAll;
      case FieldType::kFixed64:
        return TakeBytes(8);
      case FieldType::kLength: {
        std::uint64_t length = 0;
        return TakeVarint(&left_, &length) == Taken::kAll && TakeBytes(length);
      }
      case FieldType::kFixed32:
        return TakeBytes(4);
    }
    return false;  // A group, which no peer of ours sends.
  }

  bool TakeBytes(std::uint64_t bytes) {
    if (bytes > left_.size()) return false;
    bytes_ = left_.substr(0, bytes);
    left_.remove_prefix(bytes);
    return true;
  }

  std::string_view left_;
  std::uint64_t tag_ = 0;
  std::uint64_t value_ = 0;
  std::string_view bytes_;
  bool is_right_ = true;
};

// A message of two strings, the fields 1 and 2: a KeyValue, or an Any.
struct Pair {
  std::string_view first;
  std::string_view second;
};

inline bool ParsePair(std::string_view data, Pair* into) {
  Fields fields(data);
  while (fields.Next()) {
    if (fields.Is(1, FieldType::kLength)) into->first = fields.bytes();
    if (fields.Is(2, FieldType::kLength)) into->second = fields.bytes();
  }
  return fields.is_right();
}

inline std::size_t PairBytes(const Pair& pair) {
  return FieldBytes(pair.first.size()) + FieldBytes(pair.second.size());
}

inline char* PutPair(char* at, std::uint32_t number, const Pair& pair) {
  at = PutLength(at, number, PairBytes(pair));
  return PutBytes(PutBytes(at, 1, pair.first), 2, pair.second);
}

inline std::size_t PairFieldBytes(const Pair& pair) {
  const std::size_t bytes = PairBytes(pair);
  return 1 + VarintBytes(bytes) + bytes;
}

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_FRAMES_FIELDS_H_

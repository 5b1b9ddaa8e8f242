#include "rpc/wire/message_check.h"

#include <algorithm>
#include <limits>
#include <string>
#include <typeinfo>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/unknown_field_set.h"
#include "rpc/base/status_macros.h"

namespace tandem::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MessageFactory;
using google::protobuf::MessageLite;
using google::protobuf::Reflection;
using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

UnknownField::Type WireTypeOf(const FieldDescriptor& field) {
  switch (field.type()) {
    case FieldDescriptor::TYPE_DOUBLE:
    case FieldDescriptor::TYPE_FIXED64:
    case FieldDescriptor::TYPE_SFIXED64:
      return UnknownField::TYPE_FIXED64;
    case FieldDescriptor::TYPE_FLOAT:
    case FieldDescriptor::TYPE_FIXED32:
    case FieldDescriptor::TYPE_SFIXED32:
      return UnknownField::TYPE_FIXED32;
    case FieldDescriptor::TYPE_STRING:
    case FieldDescriptor::TYPE_BYTES:
    case FieldDescriptor::TYPE_MESSAGE:
      return UnknownField::TYPE_LENGTH_DELIMITED;
    case FieldDescriptor::TYPE_GROUP:
      return UnknownField::TYPE_GROUP;
    default:
      return UnknownField::TYPE_VARINT;
  }
}

const char* NameOf(UnknownField::Type type) {
  switch (type) {
    case UnknownField::TYPE_VARINT:
      return "a varint";
    case UnknownField::TYPE_FIXED32:
      return "4 fixed bytes";
    case UnknownField::TYPE_FIXED64:
      return "8 fixed bytes";
    case UnknownField::TYPE_LENGTH_DELIMITED:
      return "length-delimited";
    case UnknownField::TYPE_GROUP:
      return "a group";
  }
  return "an unknown type";
}

// What the .proto says: "int64", "message kv.v1.Range".
std::string DeclaredType(const FieldDescriptor& field) {
  std::string type = field.is_repeated() ? "repeated " : "";
  absl::StrAppend(&type, field.type_name());
  if (field.message_type() != nullptr) {
    absl::StrAppend(&type, " ", field.message_type()->full_name());
  }
  if (field.enum_type() != nullptr) {
    absl::StrAppend(&type, " ", field.enum_type()->full_name());
  }
  return type;
}

absl::Status CheckUnknown(const Descriptor& type,
                          const UnknownFieldSet& unknown) {
  for (int i = 0; i < unknown.field_count(); ++i) {
    const FieldDescriptor* field =
        type.FindFieldByNumber(unknown.field(i).number());
    // The right wire type and yet unknown: an enum's value, which is no error.
    if (field == nullptr || WireTypeOf(*field) == unknown.field(i).type()) {
      continue;
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "field ", field->number(), " '", field->name(), "' of ",
        type.full_name(), " came as ", NameOf(unknown.field(i).type()),
        ", but this program expects ", DeclaredType(*field),
        ": client and server are built from different .proto files"));
  }
  return absl::OkStatus();
}

// A class of messages that has no messages within: nothing but its own unknown
// fields can be wrong with one.
struct FlatClass {
  const std::type_info* type = nullptr;
  const Descriptor* descriptor = nullptr;
  const Reflection* reflection = nullptr;
};

// That of `message`; none where it is not flat, or where messages of the C++
// class are of different types (DynamicMessage).
FlatClass FlatClassOf(const Message& message) {
  const Descriptor& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      return {};
    }
  }
  if (reflection.GetMessageFactory() != MessageFactory::generated_factory()) {
    return {};
  }
  return {&typeid(message), &type, &reflection};
}

absl::Status Check(const Message& message) {
  const Descriptor& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  TANDEM_RETURN_IF_ERROR(
      CheckUnknown(type, reflection.GetUnknownFields(message)));
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      if (!reflection.HasField(message, field)) continue;
      TANDEM_RETURN_IF_ERROR(Check(reflection.GetMessage(message, field)));
      continue;
    }
    // Map entries do not keep unknown fields; only a message as value can.
    if (field->is_map() &&
        field->message_type()->map_value()->message_type() == nullptr) {
      continue;
    }
    const int size = reflection.FieldSize(message, field);
    for (int j = 0; j < size; ++j) {
      TANDEM_RETURN_IF_ERROR(
          Check(reflection.GetRepeatedMessage(message, field, j)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckLength(std::size_t bytes, std::size_t max_bytes,
                         const MessageLite& message, std::string_view method) {
  // Protobuf's own limit.
  constexpr std::size_t kMost = std::numeric_limits<int>::max();
  max_bytes = std::min(max_bytes, kMost);
  if (bytes <= max_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      std::string(method), ": a ", message.GetTypeName(), " of ", bytes,
      " bytes is larger than the limit of ", max_bytes, " bytes"));
}

absl::Status CheckSize(const MessageLite& message, std::size_t max_bytes,
                       std::string_view method) {
  return CheckLength(message.ByteSizeLong(), max_bytes, message, method);
}

absl::Status CheckFieldTypes(const MessageLite& message) {
  // The last one that this thread saw: most often the next is of it, too, and
  // costs little.
  thread_local FlatClass last;
  if (&typeid(message) == last.type) {
    return CheckUnknown(*last.descriptor,
                        last.reflection->GetUnknownFields(
                            static_cast<const Message&>(message)));
  }
  const auto* full = dynamic_cast<const Message*>(&message);
  if (full == nullptr) return absl::OkStatus();
  last = FlatClassOf(*full);
  return Check(*full);
}

absl::Status CheckParsed(bool is_parsed, const MessageLite& message,
                         std::string_view method) {
  if (!is_parsed) {
    return absl::InvalidArgumentError(absl::StrCat(
        std::string(method), ": the bytes are no ", message.GetTypeName(),
        "; client and server may be built from different .proto files"));
  }
  absl::Status checked = CheckFieldTypes(message);
  if (checked.ok()) return checked;
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(method), ": ", checked.message()));
}

absl::Status ParseMessage(std::string_view bytes, std::size_t max_bytes,
                          std::string_view method, MessageLite* into) {
  TANDEM_RETURN_IF_ERROR(CheckLength(bytes.size(), max_bytes, *into, method));
  return CheckParsed(
      into->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())), *into,
      method);
}

}  // namespace tandem::rpc

#include "rpc/codegen/fingerprint.h"

#include <openssl/evp.h>

#include <cstddef>
#include <map>
#include <set>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace tandem::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

std::string MethodLine(const MethodDescriptor& method) {
  return absl::StrCat(
      "rpc ", method.name(), method.client_streaming() ? " stream " : " ",
      method.input_type()->full_name(),
      method.server_streaming() ? " returns stream " : " returns ",
      method.output_type()->full_name(), "\n");
}

std::string FieldLine(const FieldDescriptor& field) {
  std::string line =
      absl::StrCat("  ", field.number(), " ", field.name(), " ",
                   field.type_name(), " ", static_cast<int>(field.label()));
  if (field.is_packed()) line += " packed";
  if (field.has_presence()) line += " presence";
  if (const auto* oneof = field.real_containing_oneof()) {
    absl::StrAppend(&line, " oneof ", oneof->name());
  }
  if (const auto* message = field.message_type()) {
    absl::StrAppend(&line, " ", message->full_name());
  }
  if (const auto* values = field.enum_type()) {
    absl::StrAppend(&line, " ", values->full_name());
  }
  return line + "\n";
}

std::string EnumText(const EnumDescriptor& values) {
  std::set<std::string> lines;
  for (int i = 0; i < values.value_count(); ++i) {
    lines.insert(absl::StrCat("  ", values.value(i)->number(), " ",
                              values.value(i)->name(), "\n"));
  }
  std::string text = absl::StrCat("enum ", values.full_name(), "\n");
  for (const std::string& line : lines) text += line;
  return text;
}

// Messages and enums by full name, each with its text.
using Types = std::map<std::string, std::string>;

void AddMessage(const Descriptor& message, Types& types) {
  auto [type, is_new] = types.try_emplace(message.full_name());
  if (!is_new) return;
  std::map<int, const FieldDescriptor*> fields;
  for (int i = 0; i < message.field_count(); ++i) {
    fields[message.field(i)->number()] = message.field(i);
  }
  std::string text = absl::StrCat("message ", message.full_name(), "\n");
  for (const auto& [number, field] : fields) text += FieldLine(*field);
  type->second = text;
  for (const auto& [number, field] : fields) {
    if (const auto* inner = field->message_type()) AddMessage(*inner, types);
    if (const auto* values = field->enum_type()) {
      types[values->full_name()] = EnumText(*values);
    }
  }
}

}  // namespace

std::string SchemaText(const ServiceDescriptor& service) {
  std::set<std::string> methods;
  Types types;
  for (int i = 0; i < service.method_count(); ++i) {
    const MethodDescriptor& method = *service.method(i);
    methods.insert(MethodLine(method));
    AddMessage(*method.input_type(), types);
    AddMessage(*method.output_type(), types);
  }
  std::string text = absl::StrCat("service ", service.full_name(), "\n");
  for (const std::string& line : methods) text += line;
  for (const auto& [name, lines] : types) text += lines;
  return text;
}

std::string Fingerprint(const ServiceDescriptor& service) {
  const std::string text = SchemaText(service);
  unsigned char digest[EVP_MAX_MD_SIZE];
  std::size_t size = 0;
  // Fails only when OpenSSL itself is broken: then the fingerprint is empty,
  // which equals nobody's.
  if (EVP_Q_digest(nullptr, "SHA256", nullptr, text.data(), text.size(), digest,
                   &size) != 1) {
    return "";
  }
  return absl::BytesToHexString(
      std::string(reinterpret_cast<const char*>(digest), size));
}

}  // namespace tandem::rpc

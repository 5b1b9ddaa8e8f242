#include "rpc/codegen/fingerprint.h"

#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "google/protobuf/compiler/importer.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "gtest/gtest.h"
#include "tests/rpc/codegen/traps.tandem.h"

namespace tandem::rpc {
namespace {

using ::testing::HasSubstr;

// Files in memory.
class Files final : public google::protobuf::compiler::SourceTree,
                    public google::protobuf::compiler::MultiFileErrorCollector {
 public:
  explicit Files(std::map<std::string, std::string> files)
      : files_(std::move(files)) {}

  google::protobuf::io::ZeroCopyInputStream* Open(
      const std::string& name) override {
    const auto file = files_.find(name);
    if (file == files_.end()) return nullptr;
    return new google::protobuf::io::ArrayInputStream(
        file->second.data(), static_cast<int>(file->second.size()));
  }
  void AddError(const std::string& file, int line, int,
                const std::string& message) override {
    ADD_FAILURE() << file << ":" << line << ": " << message;
  }

 private:
  const std::map<std::string, std::string> files_;
};

std::string FingerprintOf(std::map<std::string, std::string> files) {
  for (auto& [name, text] : files) text = "syntax = \"proto3\";\n" + text;
  Files tree(std::move(files));
  google::protobuf::compiler::Importer importer(&tree, &tree);
  const auto* file = importer.Import("main.proto");
  return file == nullptr ? "" : Fingerprint(*file->service(0));
}

constexpr char kSchema[] = R"(
package a;
message Request {
  int32 id = 1;
  repeated int64 counts = 2;
  Inner inner = 3;
  oneof choice { string text = 4; Colour colour = 5; }
}
message Inner { string name = 1; optional bool flag = 2; }
message Reply { map<string, Inner> inners = 1; }
enum Colour { UNKNOWN = 0; RED = 1; }
service S {
  rpc Get(Request) returns (Reply);
  rpc Watch(Request) returns (stream Reply);
}
)";

// The fingerprint after one change.
std::string Changed(const std::string& from, const std::string& to) {
  const std::string text = absl::StrReplaceAll(kSchema, {{from, to}});
  EXPECT_NE(text, kSchema) << from;
  return FingerprintOf({{"main.proto", text}});
}

std::string Unchanged() { return FingerprintOf({{"main.proto", kSchema}}); }

TEST(FingerprintTest, IsSixtyFourHexadecimalDigits) {
  EXPECT_THAT(Unchanged(), ::testing::MatchesRegex("[0-9a-f]{64}"));
}

TEST(FingerprintTest, WhatDoesNotTravelDoesNotCount) {
  const std::string same = Unchanged();
  EXPECT_EQ(Changed("int32 id = 1;", "// A comment.\nint32 id = 1;"), same);
  EXPECT_EQ(Changed("int32 id = 1;", "int32 id = 1 [deprecated = true];"),
            same);
  EXPECT_EQ(Changed("int32 id = 1;", "int32 id = 1 [json_name = \"x\"];"),
            same);
  EXPECT_EQ(Changed("counts = 2;", "counts = 2 [packed = true];"), same);
  EXPECT_EQ(Changed("enum Colour", "message Unrelated {} enum Colour"), same);
  EXPECT_EQ(Changed("package a;", "package a; option java_package = \"x\";"),
            same);
  EXPECT_EQ(Changed("UNKNOWN = 0; RED = 1;",
                    "option deprecated = true; UNKNOWN = 0; RED = 1;"),
            same);
}

TEST(FingerprintTest, OrderOfDeclarationsDoesNotCount) {
  EXPECT_EQ(Changed("int32 id = 1;\n  repeated int64 counts = 2;",
                    "repeated int64 counts = 2;\n  int32 id = 1;"),
            Unchanged());
  EXPECT_EQ(
      Changed("rpc Get(Request) returns (Reply);\n"
              "  rpc Watch(Request) returns (stream Reply);",
              "rpc Watch(Request) returns (stream Reply);\n"
              "  rpc Get(Request) returns (Reply);"),
      Unchanged());
}

TEST(FingerprintTest, FilesDoNotCount) {
  const std::string inner =
      "message Inner { string name = 1; optional bool flag = 2; }\n";
  const std::string main = absl::StrReplaceAll(
      kSchema, {{inner, ""}, {"package a;", "package a; import \"b.proto\";"}});
  EXPECT_EQ(FingerprintOf(
                {{"main.proto", main}, {"b.proto", "package a;" + inner}}),
            Unchanged());
}

TEST(FingerprintTest, WhatTravelsCounts) {
  const std::pair<const char*, const char*> kChanges[] = {
      {"int32 id = 1;", "int32 id = 9;"},
      {"int32 id = 1;", "int32 key = 1;"},
      {"int32 id = 1;", "int64 id = 1;"},
      {"int32 id = 1;", "optional int32 id = 1;"},
      {"int32 id = 1;", "repeated int32 id = 1;"},
      {"int32 id = 1;", ""},
      {"int32 id = 1;", "int32 id = 1; int32 added = 6;"},
      {"counts = 2;", "counts = 2 [packed = false];"},
      {"oneof choice { string text = 4; Colour colour = 5; }",
       "string text = 4; Colour colour = 5;"},
      {"oneof choice", "oneof selection"},
      {"optional bool flag = 2;", "bool flag = 2;"},
      {"string name = 1;", "bytes name = 1;"},
      {"map<string, Inner>", "map<int32, Inner>"},
      {"map<string, Inner> inners", "repeated Inner inners"},
      {"RED = 1;", "RED = 2;"},
      {"RED = 1;", "CRIMSON = 1;"},
      {"RED = 1;", "RED = 1; BLUE = 2;"},
      {"Inner", "Nested"},
      {"package a;", "package b;"},
      {"service S", "service T"},
      {"rpc Get", "rpc Fetch"},
      {"rpc Get(Request)", "rpc Get(Inner)"},
      {"rpc Get(Request) returns", "rpc Get(stream Request) returns"},
      {"returns (stream Reply)", "returns (Reply)"},
  };
  for (const auto& [from, to] : kChanges) {
    EXPECT_NE(Changed(from, to), Unchanged()) << from << " -> " << to;
  }
}

TEST(FingerprintTest, MessagesThatContainThemselvesEnd) {
  EXPECT_NE(Changed("int32 id = 1;", "Request id = 1;"), Unchanged());
}

TEST(FingerprintTest, GeneratedTableHoldsTheFingerprint) {
  const auto* service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
          "tests.codegen.traps.Traps");
  ASSERT_NE(service, nullptr);
  EXPECT_EQ(tests::codegen::traps::TrapsHandler::Table().fingerprint,
            Fingerprint(*service));
  EXPECT_THAT(SchemaText(*service), HasSubstr("rpc delete "));
}

}  // namespace
}  // namespace tandem::rpc

#include "rpc/wire/message_check.h"

#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/unknown_field_set.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "tests/rpc/codegen/traps.pb.h"

namespace tandem::rpc {
namespace {

using ::google::protobuf::UnknownFieldSet;
using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::tests::codegen::traps::Rich;

// A Rich as another program would send it.
Rich Parsed(const UnknownFieldSet& fields) {
  std::string bytes;
  EXPECT_TRUE(fields.SerializeToString(&bytes));
  Rich rich;
  EXPECT_TRUE(rich.ParseFromString(bytes));
  return rich;
}

TEST(MessageCheckTest, MessageOfTheSameSchemaIsFine) {
  Rich rich;
  rich.set_maybe(1);
  rich.set_text("x");
  rich.add_packed(1.5);
  (*rich.mutable_counts())["a"] = 1;
  (*rich.mutable_children())[1].set_maybe(2);
  EXPECT_THAT(CheckFieldTypes(rich), IsOk());
}

TEST(MessageCheckTest, AddedFieldIsFine) {
  UnknownFieldSet fields;
  fields.AddVarint(1, 7);
  fields.AddLengthDelimited(99, "added");
  fields.AddFixed64(100, 1);
  EXPECT_THAT(CheckFieldTypes(Parsed(fields)), IsOk());
}

TEST(MessageCheckTest, ChangedTypeNamesMessageFieldAndBothTypes) {
  UnknownFieldSet fields;
  fields.AddLengthDelimited(1, "seven");
  EXPECT_THAT(
      CheckFieldTypes(Parsed(fields)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "field 1 'maybe' of tests.codegen.traps.Rich came as "
               "length-delimited, but this program expects int32: client and "
               "server are built from different .proto files"));
}

TEST(MessageCheckTest, EachWireTypeIsTold) {
  UnknownFieldSet varint, fixed32, fixed64, group;
  varint.AddVarint(4, 1);
  fixed32.AddFixed32(4, 1);
  fixed64.AddFixed64(4, 1);
  group.AddGroup(4)->AddVarint(1, 1);
  EXPECT_THAT(CheckFieldTypes(Parsed(varint)).ToString(),
              AllOf(HasSubstr("a varint"), HasSubstr("expects string")));
  EXPECT_THAT(CheckFieldTypes(Parsed(fixed32)).ToString(),
              HasSubstr("4 fixed bytes"));
  EXPECT_THAT(CheckFieldTypes(Parsed(fixed64)).ToString(),
              HasSubstr("8 fixed bytes"));
  EXPECT_THAT(CheckFieldTypes(Parsed(group)).ToString(), HasSubstr("a group"));
}

TEST(MessageCheckTest, UnpackedFormOfAPackedFieldIsFine) {
  UnknownFieldSet fields;
  fields.AddFixed64(6, 0);
  EXPECT_THAT(CheckFieldTypes(Parsed(fields)), IsOk());
}

TEST(MessageCheckTest, ChangedTypeInsideAMapIsFound) {
  UnknownFieldSet child;
  child.AddVarint(4, 1);
  std::string child_bytes;
  ASSERT_TRUE(child.SerializeToString(&child_bytes));
  UnknownFieldSet entry;
  entry.AddVarint(1, 5);
  entry.AddLengthDelimited(2, child_bytes);
  std::string entry_bytes;
  ASSERT_TRUE(entry.SerializeToString(&entry_bytes));
  UnknownFieldSet fields;
  fields.AddLengthDelimited(3, entry_bytes);
  EXPECT_THAT(CheckFieldTypes(Parsed(fields)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("field 4 'text'")));
}

}  // namespace
}  // namespace tandem::rpc

#include "rpc/storage/database.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/eventually.h"

namespace tandem::rpc {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using test::Eventually;
using testing::StatusIs;

class DatabaseTest : public ::testing::Test {
 protected:
  using DatabaseOr = absl::StatusOr<std::unique_ptr<rocksdb::DB>>;

  DatabaseOr Open() { return OpenDatabase(options_); }
  DatabaseOr OpenToRead() { return OpenDatabaseToRead(options_); }

  // Writes a key that no file but a log of its own has.
  static void Put(rocksdb::DB& db, int number, bool flush) {
    rocksdb::WriteOptions durably;
    durably.sync = true;
    ASSERT_TRUE(
        db.Put(durably, absl::StrCat("key", number), std::string(100, 'v'))
            .ok());
    if (flush) {
      ASSERT_TRUE(db.Flush({}).ok());
    }
  }

  // As a program leaves it that is killed with three keys, each in a table of
  // its own: copied while it is open.
  void MakeAndKill() {
    const DatabaseOr db = OpenDatabase({.directory = dir_.File("live")});
    ASSERT_THAT(db, IsOk());
    for (int i = 0; i < 3; ++i) Put(**db, i, true);
    // The watcher may be told after Flush() has returned.
    ASSERT_TRUE(Eventually([this] {
      return Known(dir_.File("live")) ==
             fs::file_size(ManifestPath(dir_.File("live")));
    }));
    fs::copy(dir_.File("live"), options_.directory);
  }

  static std::string ManifestPath(const std::string& directory) {
    std::string name = ReadFile(directory + "/CURRENT").value_or("nothing\n");
    name.pop_back();
    return directory + "/" + name;
  }

  static std::uint64_t Known(const std::string& directory) {
    const std::string text =
        ReadFile(directory + "/known-manifest").value_or("none 0");
    return std::stoull(text.substr(text.find(' ')));
  }

  void ExpectBothRefuse(const std::string& why) {
    const auto refusal =
        StatusIs(absl::StatusCode::kDataLoss,
                 AllOf(HasSubstr(options_.directory), HasSubstr(why),
                       HasSubstr("call the operator")));
    EXPECT_THAT(OpenToRead().status(), refusal);
    EXPECT_THAT(Open().status(), refusal);
  }

  const testing::TempDir dir_;
  DatabaseOptions options_ = {.directory = dir_.File("db"),
                              .if_damaged = "call the operator"};
};

TEST_F(DatabaseTest, KeepsWhatWasWritten) {
  ASSERT_NO_FATAL_FAILURE(MakeAndKill());
  for (const bool to_read : {true, false}) {
    const DatabaseOr db = to_read ? OpenToRead() : Open();
    ASSERT_THAT(db, IsOk());
    for (int i = 0; i < 3; ++i) {
      std::string value;
      EXPECT_TRUE((*db)->Get({}, absl::StrCat("key", i), &value).ok()) << i;
    }
  }
}

TEST_F(DatabaseTest, IsOpenedAnyNumberOfTimes) {
  for (int i = 0; i < 5; ++i) {
    const DatabaseOr db = Open();
    ASSERT_THAT(db, IsOk()) << i;
    Put(**db, i, i % 2 == 0);
  }
}

// Wherever a MANIFEST is cut, RocksDB would open what is left, and remove the
// tables that are no longer named.
TEST_F(DatabaseTest, AManifestThatWasCutIsNoticed) {
  ASSERT_NO_FATAL_FAILURE(MakeAndKill());
  const std::string manifest = ManifestPath(options_.directory);
  const auto whole = fs::file_size(manifest);
  ASSERT_EQ(Known(options_.directory), whole);
  const std::string contents = ReadFile(manifest).value();
  for (std::size_t size = whole; size-- > 0 && !HasFailure();) {
    fs::resize_file(manifest, size);
    ExpectBothRefuse("it was cut");
  }
  ASSERT_THAT(WriteFile(manifest, contents, 0600), IsOk());
  const DatabaseOr db = Open();
  ASSERT_THAT(db, IsOk()) << "nothing was removed";
  std::string value;
  EXPECT_TRUE((*db)->Get({}, "key2", &value).ok());
}

TEST_F(DatabaseTest, AManifestOfALaterStartIsNoticedToo) {
  ASSERT_NO_FATAL_FAILURE(MakeAndKill());
  ASSERT_THAT(Open(), IsOk());
  fs::resize_file(ManifestPath(options_.directory),
                  fs::file_size(ManifestPath(options_.directory)) - 1);
  ExpectBothRefuse("it was cut");
}

TEST_F(DatabaseTest, AMissingCurrentIsNoticed) {
  ASSERT_NO_FATAL_FAILURE(MakeAndKill());
  fs::rename(options_.directory + "/CURRENT", dir_.File("CURRENT"));
  ExpectBothRefuse("CURRENT is missing");
  fs::rename(dir_.File("CURRENT"), options_.directory + "/CURRENT");
  EXPECT_THAT(Open(), IsOk());
}

// A crash right after the start, or a database that is older than this check.
TEST_F(DatabaseTest, WithoutAnythingKnownItIsOpened) {
  ASSERT_NO_FATAL_FAILURE(MakeAndKill());
  fs::remove(options_.directory + "/known-manifest");
  EXPECT_THAT(Open(), IsOk());
  ASSERT_THAT(WriteFile(options_.directory + "/known-manifest",
                        "MANIFEST-1 9999\n", 0600),
              IsOk());
  EXPECT_THAT(Open(), IsOk()) << "RocksDB has begun another since";
}

TEST_F(DatabaseTest, ADamagedNoteIsNoticed) {
  ASSERT_NO_FATAL_FAILURE(MakeAndKill());
  ASSERT_THAT(WriteFile(options_.directory + "/known-manifest", "?", 0600),
              IsOk());
  ExpectBothRefuse("known-manifest is damaged");
}

TEST_F(DatabaseTest, OneProgramOpensItAtATime) {
  const DatabaseOr db = Open();
  ASSERT_THAT(db, IsOk());
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("another process")));
}

TEST_F(DatabaseTest, WhoReadsMakesNone) {
  EXPECT_FALSE(OpenToRead().ok());
  EXPECT_FALSE(fs::exists(options_.directory + "/CURRENT"));
}

TEST_F(DatabaseTest, WhatRocksDbSaysIsSaidWithWhatToDo) {
  using rocksdb::Status;
  EXPECT_THAT(DatabaseError("read it", Status::Corruption("bad block"), "pray"),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("cannot read it"),
                             HasSubstr("bad block"), HasSubstr("pray"))));
  EXPECT_THAT(
      DatabaseError("write it", Status::NoSpace(), "pray"),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("make room")));
  EXPECT_THAT(DatabaseError("write it", Status::IOError("EIO"), "pray"),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("EIO"), HasSubstr("mend the disk"))));
}

}  // namespace
}  // namespace tandem::rpc

#include "app/kvstore/state_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/util/delimited_message_util.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"
#include "rpc/base/status_macros.h"
#include "rpc/storage/database.h"

namespace tandem::app {
namespace {

// Keys: "s" is the state, "k" with a key its value, "v" with a validator's raw
// key the validator.
constexpr char kStateKey[] = "s";
constexpr char kValuePrefix = 'k';
constexpr char kValidatorPrefix = 'v';

std::string KeyOf(char prefix, std::string_view key) {
  std::string result(1, prefix);
  result.append(key);
  return result;
}

constexpr char kIfDamaged[] =
    "move the data directory away and restart the program: a node that has all "
    "blocks gives it the chain again; else restore a backup";

absl::Status Failed(std::string_view what, const rocksdb::Status& why) {
  return rpc::DatabaseError(what, why, kIfDamaged);
}

rpc::DatabaseOptions OptionsFor(const std::string& path) {
  return {.directory = path,
          .write_buffer_bytes = 4 << 20,
          .cache_bytes = 4 << 20,
          .if_damaged = kIfDamaged};
}

absl::Status Unreadable(std::string_view what) {
  return absl::DataLossError(
      absl::StrCat("the database holds ", std::string(what),
                   " that cannot be read: restore its directory"));
}

absl::StatusOr<kvstore::State> ReadStateAt(rocksdb::DB& db,
                                           const rocksdb::ReadOptions& at) {
  std::string bytes;
  const rocksdb::Status read = db.Get(at, kStateKey, &bytes);
  kvstore::State state;
  if (read.IsNotFound()) return state;
  if (!read.ok()) return Failed("read the state", read);
  if (!state.ParseFromString(bytes)) return Unreadable("a state");
  return state;
}

// A view of the database as it is now.
class Snapshot {
 public:
  explicit Snapshot(rocksdb::DB& db) : db_(db), snapshot_(db.GetSnapshot()) {}
  ~Snapshot() { db_.ReleaseSnapshot(snapshot_); }
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  rocksdb::ReadOptions options() const {
    rocksdb::ReadOptions options;
    options.snapshot = snapshot_;
    return options;
  }

 private:
  rocksdb::DB& db_;
  const rocksdb::Snapshot* const snapshot_;
};

std::string Delimited(const abci::ValidatorUpdate& validator) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream out(&bytes);
    google::protobuf::util::SerializeDelimitedToZeroCopyStream(validator, &out);
  }
  return bytes;
}

bool ParseDelimited(const rocksdb::Slice& bytes,
                    abci::ValidatorUpdate& validator) {
  google::protobuf::io::ArrayInputStream in(bytes.data(),
                                            static_cast<int>(bytes.size()));
  return google::protobuf::util::ParseDelimitedFromZeroCopyStream(&validator,
                                                                  &in, nullptr);
}

}  // namespace

StateStore::StateStore(std::unique_ptr<rocksdb::DB> db) : db_(std::move(db)) {}

StateStore::~StateStore() = default;

absl::StatusOr<std::unique_ptr<StateStore>> StateStore::Open(
    const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<rocksdb::DB> db,
                          rpc::OpenDatabase(OptionsFor(path)));
  return std::unique_ptr<StateStore>(new StateStore(std::move(db)));
}

absl::StatusOr<std::unique_ptr<StateStore>> StateStore::OpenToRead(
    const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<rocksdb::DB> db,
                          rpc::OpenDatabaseToRead(OptionsFor(path)));
  return std::unique_ptr<StateStore>(new StateStore(std::move(db)));
}

absl::StatusOr<std::int64_t> StateStore::CheckAll() const {
  if (const rocksdb::Status files = db_->VerifyChecksum(); !files.ok()) {
    return Failed("read the database", files);
  }
  TANDEM_ASSIGN_OR_RETURN(const kvstore::State state, ReadState());
  TANDEM_RETURN_IF_ERROR(ReadValidators(state).status());
  std::int64_t keys = 0;
  const std::unique_ptr<rocksdb::Iterator> entry(
      db_->NewIterator(rocksdb::ReadOptions()));
  for (entry->SeekToFirst(); entry->Valid(); entry->Next()) {
    if (entry->key().starts_with({&kValuePrefix, 1})) {
      ++keys;
    } else if (entry->key() != kStateKey &&
               !entry->key().starts_with({&kValidatorPrefix, 1})) {
      return Unreadable("a record");
    }
  }
  if (!entry->status().ok()) {
    return Failed("read the database", entry->status());
  }
  return keys;
}

absl::StatusOr<kvstore::State> StateStore::ReadState() const {
  return ReadStateAt(*db_, rocksdb::ReadOptions());
}

absl::StatusOr<ValidatorSet> StateStore::ReadValidators(
    const kvstore::State& state) const {
  const auto& types = state.chain().pub_key_types();
  ValidatorSet validators({types.begin(), types.end()});
  const std::unique_ptr<rocksdb::Iterator> entry(
      db_->NewIterator(rocksdb::ReadOptions()));
  for (entry->Seek(KeyOf(kValidatorPrefix, ""));
       entry->Valid() && entry->key()[0] == kValidatorPrefix; entry->Next()) {
    abci::ValidatorUpdate validator;
    if (!ParseDelimited(entry->value(), validator) ||
        !validators.Apply(validator).ok()) {
      return Unreadable("a validator");
    }
  }
  if (!entry->status().ok()) {
    return Failed("read the validators", entry->status());
  }
  return validators;
}

absl::StatusOr<StateStore::Found> StateStore::FindValue(
    std::string_view key) const {
  return Find(KeyOf(kValuePrefix, key));
}

absl::StatusOr<StateStore::Found> StateStore::FindValidator(
    std::string_view pub_key) const {
  return Find(KeyOf(kValidatorPrefix, pub_key));
}

absl::StatusOr<StateStore::Found> StateStore::Find(
    const std::string& key) const {
  const Snapshot snapshot(*db_);
  Found found;
  TANDEM_ASSIGN_OR_RETURN(found.state, ReadStateAt(*db_, snapshot.options()));
  std::string value;
  const rocksdb::Status read = db_->Get(snapshot.options(), key, &value);
  if (read.ok()) {
    found.value = std::move(value);
  } else if (!read.IsNotFound()) {
    return Failed("read a value", read);
  }
  return found;
}

absl::Status StateStore::Write(const Changes& changes) {
  TANDEM_RETURN_IF_ERROR(last_write_);
  rocksdb::WriteBatch batch;
  for (const Put& put : changes.puts) {
    batch.Put(KeyOf(kValuePrefix, put.key), put.value);
  }
  for (const abci::ValidatorUpdate& validator : changes.validators) {
    const std::string key =
        KeyOf(kValidatorPrefix, RawKey(validator.pub_key()));
    if (validator.power() == 0) {
      batch.Delete(key);
    } else {
      batch.Put(key, Delimited(validator));
    }
  }
  batch.Put(kStateKey, changes.state.SerializeAsString());
  rocksdb::WriteOptions durably;
  durably.sync = true;
  const rocksdb::Status written = db_->Write(durably, &batch);
  if (!written.ok()) {
    last_write_ = Failed("write to the database", written);
  }
  return last_write_;
}

}  // namespace tandem::app

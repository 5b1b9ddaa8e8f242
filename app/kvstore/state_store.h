// What the key-value store has committed, on disk.

#ifndef TANDEM_APP_KVSTORE_STATE_STORE_H_
#define TANDEM_APP_KVSTORE_STATE_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "app/kvstore/state.pb.h"
#include "app/kvstore/transaction.h"
#include "app/kvstore/validator_set.h"

namespace rocksdb {
class DB;
}

namespace tandem::app {

// A RocksDB database of the state, the pairs and the validators. Whoever reads
// sees all of a Write() or nothing of it, and so does who opens the database
// after a crash.
//
// Errors, of every method:
//   kDataLoss           what is on disk cannot be read
//   kResourceExhausted  the disk is full
//   kInternal           other failures of the disk, or of the database
// After a failed Write() it is not known whether it is on disk, and all further
// ones fail: open the database again.
//
// Thread safety: thread-safe; one Write() at a time.
class StateStore {
 public:
  // Opens the database in the directory `path`, or makes it.
  static absl::StatusOr<std::unique_ptr<StateStore>> Open(
      const std::string& path);
  // Opens the database that is there, for reading alone: no file is changed.
  static absl::StatusOr<std::unique_ptr<StateStore>> OpenToRead(
      const std::string& path);
  ~StateStore();

  // Reads all files and all records, and compares them with their checksums.
  // Returns the number of keys that have a value.
  absl::StatusOr<std::int64_t> CheckAll() const;

  absl::StatusOr<kvstore::State> ReadState() const;

  // The set as it was when `state` was written last.
  absl::StatusOr<ValidatorSet> ReadValidators(
      const kvstore::State& state) const;

  // A value, if there is one, and the state that it is part of.
  struct Found {
    std::optional<std::string> value;
    kvstore::State state;
  };
  absl::StatusOr<Found> FindValue(std::string_view key) const;
  // A validator by its raw key, as its length and its ValidatorUpdate.
  absl::StatusOr<Found> FindValidator(std::string_view pub_key) const;

  // What one block changes.
  struct Changes {
    kvstore::State state;
    std::vector<Put> puts;
    // Power 0 removes.
    std::vector<abci::ValidatorUpdate> validators;
  };
  // Returns once all of it is on disk.
  absl::Status Write(const Changes& changes);

 private:
  explicit StateStore(std::unique_ptr<rocksdb::DB> db);

  absl::StatusOr<Found> Find(const std::string& key) const;

  const std::unique_ptr<rocksdb::DB> db_;
  absl::Status last_write_;  // Once it has failed, there is no other.
};

}  // namespace tandem::app

#endif  // TANDEM_APP_KVSTORE_STATE_STORE_H_

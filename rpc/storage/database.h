// The databases in which programs keep what must survive them: RocksDB, opened
// as durable state wants it.

#ifndef TANDEM_RPC_STORAGE_DATABASE_H_
#define TANDEM_RPC_STORAGE_DATABASE_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rocksdb/db.h"

namespace tandem::rpc {

struct DatabaseOptions {
  // One of its own. Beside RocksDB's files it has known-manifest: the name of
  // the MANIFEST, the list of all files, and a length that it has had.
  std::string directory;
  // Memory. RocksDB's defaults take 100 MB.
  std::size_t write_buffer_bytes = 8 << 20;
  std::size_t cache_bytes = 8 << 20;
  // What an operator can do when files are damaged, for messages.
  std::string if_damaged = "restore the directory from a backup";
};

// Opens the database, or makes one. Where RocksDB would go on with less than
// there was, without a word, this is an error: a CURRENT that is missing, a
// MANIFEST that is shorter than it was, a log that is damaged before its end.
// Only an unfinished last record of the log, as a crash leaves it, is dropped.
//
// Errors: kFailedPrecondition when another process has it open; those of
// DatabaseError(). Then no file was changed.
absl::StatusOr<std::unique_ptr<rocksdb::DB>> OpenDatabase(
    const DatabaseOptions& options);

// Opens the one that is there for reading alone: no file is changed. What a
// process that has it open writes meanwhile is not seen. Errors: those of
// DatabaseError().
absl::StatusOr<std::unique_ptr<rocksdb::DB>> OpenDatabaseToRead(
    const DatabaseOptions& options);

// What RocksDB said, `why`, when we could not `what` ("read the state"), with
// what an operator can do:
//   kResourceExhausted  the disk is full
//   kDataLoss           what is on disk is damaged; `if_damaged` says what to
//   do kInternal           other failures of the disk, or of the database
absl::Status DatabaseError(std::string_view what, const rocksdb::Status& why,
                           std::string_view if_damaged);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_STORAGE_DATABASE_H_

#include "rpc/storage/database.h"

#include <cstdarg>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "rocksdb/cache.h"
#include "rocksdb/env.h"
#include "rocksdb/listener.h"
#include "rocksdb/table.h"
#include "rpc/base/file.h"
#include "rpc/base/mutex.h"
#include "rpc/base/status_macros.h"

namespace tandem::rpc {
namespace {

namespace fs = std::filesystem;

// The MANIFEST in use, and how long it is at least.
struct Manifest {
  std::string name;
  std::uint64_t size = 0;
};

// Errors: those of ReadFile(), and of the file that CURRENT names.
absl::StatusOr<Manifest> FindManifest(const std::string& directory) {
  TANDEM_ASSIGN_OR_RETURN(const std::string current,
                          ReadFile(directory + "/CURRENT"));
  Manifest manifest;
  manifest.name = std::string(absl::StripSuffix(current, "\n"));
  const std::string path = directory + "/" + manifest.name;
  std::error_code error;
  manifest.size = fs::file_size(path, error);
  if (error) return absl::ErrnoToStatus(error.value(), path);
  return manifest;
}

std::string KnownPath(const std::string& directory) {
  return directory + "/known-manifest";
}

// Writes down how long the MANIFEST is now. After a crash, or where this cannot
// be written, what is written down is of an earlier time, and shorter.
void NoteManifest(const std::string& directory) {
  const absl::StatusOr<Manifest> now = FindManifest(directory);
  if (!now.ok()) return;
  (void)WriteFile(KnownPath(directory),
                  absl::StrCat(now->name, " ", now->size, "\n"), 0600);
}

absl::Status Damaged(const DatabaseOptions& options, std::string_view what) {
  return absl::DataLossError(
      absl::StrCat("cannot open the database ", options.directory, ": ",
                   std::string(what), "; ", options.if_damaged));
}

// RocksDB takes a database without its file CURRENT for a new one, and removes
// what is left of the old.
absl::Status CheckNotGutted(const DatabaseOptions& options) {
  std::error_code error;
  if (fs::exists(options.directory + "/CURRENT", error)) {
    return absl::OkStatus();
  }
  for (fs::directory_iterator entry(options.directory, error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string kind = entry->path().extension();
    if (kind != ".sst" && kind != ".log") continue;
    return Damaged(options,
                   "its file CURRENT is missing, while others are there");
  }
  return absl::OkStatus();
}

// RocksDB takes a MANIFEST that is cut for one whose end was never written, and
// removes the files that the end has named.
absl::Status CheckManifest(const DatabaseOptions& options) {
  const absl::StatusOr<std::string> text =
      ReadFile(KnownPath(options.directory));
  // It is new, or was made without.
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  TANDEM_RETURN_IF_ERROR(text.status());
  const std::vector<std::string> words =
      absl::StrSplit(absl::StripSuffix(*text, "\n"), ' ');
  std::uint64_t known = 0;
  if (words.size() != 2 || !absl::SimpleAtoi(words[1], &known)) {
    return Damaged(options, "its file known-manifest is damaged");
  }
  const absl::StatusOr<Manifest> now = FindManifest(options.directory);
  // RocksDB says what is wrong; or it has begun another since.
  if (!now.ok() || now->name != words[0] || now->size >= known) {
    return absl::OkStatus();
  }
  return Damaged(options,
                 absl::StrCat("its file ", now->name, " has ", now->size,
                              " bytes, and had ", known, ": it was cut"));
}

// Keeps known-manifest up to date: the MANIFEST grows with each of these.
class ManifestWatcher final : public rocksdb::EventListener {
 public:
  explicit ManifestWatcher(std::string directory)
      : directory_(std::move(directory)) {}

  void OnFlushCompleted(rocksdb::DB* db,
                        const rocksdb::FlushJobInfo& job) override {
    Note();
  }
  void OnCompactionCompleted(rocksdb::DB* db,
                             const rocksdb::CompactionJobInfo& job) override {
    Note();
  }

 private:
  // Any of RocksDB's threads.
  void Note() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    NoteManifest(directory_);
  }

  const std::string directory_;
  Mutex mu_;  // one writer at a time
};

// RocksDB's own log would be a file beside the data. Who only reads leaves
// none, and where the disk fails, its writer ends the program before we say
// why.
class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {}
};

rocksdb::Options Tuned(const DatabaseOptions& options) {
  rocksdb::Options tuned;
  tuned.info_log = std::make_shared<NoLog>();
  // The default ends the log at the first record that is damaged, and so drops
  // without a word what was acknowledged. Only an unfinished last one may be.
  tuned.wal_recovery_mode =
      rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  tuned.write_buffer_size = options.write_buffer_bytes;
  tuned.max_write_buffer_number = 2;
  tuned.max_open_files = 64;
  // Of so few, more threads open none sooner.
  tuned.max_file_opening_threads = 1;
  tuned.max_manifest_file_size = 4 << 20;
  tuned.stats_dump_period_sec = 0;
  tuned.stats_persist_period_sec = 0;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(options.cache_bytes);
  table.cache_index_and_filter_blocks = true;
  tuned.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return tuned;
}

// RocksDB's words for a lock that is taken; there is no code.
bool IsOpenElsewhere(const rocksdb::Status& status) {
  const std::string words = status.ToString();
  return status.IsIOError() &&
         (words.find("While lock file") != std::string::npos ||
          words.find("lock hold by current process") != std::string::npos);
}

absl::Status OpenError(const DatabaseOptions& options,
                       const rocksdb::Status& why) {
  if (IsOpenElsewhere(why)) {
    return absl::FailedPreconditionError(
        absl::StrCat("another process has the database ", options.directory,
                     " open: ", why.ToString()));
  }
  return DatabaseError(absl::StrCat("open the database ", options.directory),
                       why, options.if_damaged);
}

}  // namespace

absl::StatusOr<std::unique_ptr<rocksdb::DB>> OpenDatabase(
    const DatabaseOptions& options) {
  TANDEM_RETURN_IF_ERROR(CheckNotGutted(options));
  TANDEM_RETURN_IF_ERROR(CheckManifest(options));
  rocksdb::Options tuned = Tuned(options);
  tuned.create_if_missing = true;
  tuned.listeners = {std::make_shared<ManifestWatcher>(options.directory)};
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened =
      rocksdb::DB::Open(tuned, options.directory, &db);
  if (!opened.ok()) return OpenError(options, opened);
  std::unique_ptr<rocksdb::DB> owned(db);
  NoteManifest(options.directory);
  return owned;
}

absl::StatusOr<std::unique_ptr<rocksdb::DB>> OpenDatabaseToRead(
    const DatabaseOptions& options) {
  TANDEM_RETURN_IF_ERROR(CheckNotGutted(options));
  TANDEM_RETURN_IF_ERROR(CheckManifest(options));
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened =
      rocksdb::DB::OpenForReadOnly(Tuned(options), options.directory, &db);
  if (!opened.ok()) return OpenError(options, opened);
  return std::unique_ptr<rocksdb::DB>(db);
}

absl::Status DatabaseError(std::string_view what, const rocksdb::Status& why,
                           std::string_view if_damaged) {
  const std::string message =
      absl::StrCat("cannot ", std::string(what), ": ", why.ToString(), "; ");
  if (why.IsNoSpace()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        message, "make room on the disk, then restart the program"));
  }
  if (why.IsCorruption()) {
    return absl::DataLossError(absl::StrCat(message, std::string(if_damaged)));
  }
  return absl::InternalError(
      absl::StrCat(message, "mend the disk, then restart the program"));
}

}  // namespace tandem::rpc

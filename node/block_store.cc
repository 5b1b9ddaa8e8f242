#include "node/block_store.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/message_lite.h"
#include "rocksdb/cache.h"
#include "rocksdb/db.h"
#include "rocksdb/table.h"
#include "rocksdb/write_batch.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {
namespace {

using tendermint::abci::ResponseFinalizeBlock;

// Keys: "s" is the state; "b" and "r" with a height of 8 bytes, most
// significant first, are a block and the application's response to it.
constexpr char kStateKey[] = "s";
constexpr char kBlock = 'b';
constexpr char kResponse = 'r';

std::string KeyOf(char kind, std::int64_t height) {
  std::string key(1, kind);
  for (int shift = 56; shift >= 0; shift -= 8) {
    key.push_back(static_cast<char>(height >> shift));
  }
  return key;
}

std::int64_t HeightOf(std::string_view key) {
  std::int64_t height = 0;
  for (const char c : key.substr(1)) {
    height = height << 8 | static_cast<unsigned char>(c);
  }
  return height;
}

absl::Status Broken(std::string_view what, std::string_view why) {
  return absl::DataLossError(absl::StrCat(
      "the block store cannot ", std::string(what), ": ", std::string(why)));
}

// Small buffers and caches: a node's work is append-only, and reads are rare.
// RocksDB's defaults take 100 MB.
rocksdb::Options TunedOptions() {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.write_buffer_size = 8 << 20;
  options.max_write_buffer_number = 2;
  options.max_open_files = 64;
  options.keep_log_file_num = 2;
  options.max_log_file_size = 1 << 20;
  options.max_manifest_file_size = 4 << 20;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(8 << 20);
  table.cache_index_and_filter_blocks = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

absl::Status Read(rocksdb::DB& db, const std::string& key,
                  google::protobuf::MessageLite& into) {
  rocksdb::PinnableSlice value;
  const rocksdb::Status status =
      db.Get(rocksdb::ReadOptions(), db.DefaultColumnFamily(), key, &value);
  if (status.IsNotFound()) return absl::NotFoundError("not in the block store");
  if (!status.ok()) return Broken("read", status.ToString());
  if (!into.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return Broken("read", absl::StrCat("a record is no ", into.GetTypeName()));
  }
  return absl::OkStatus();
}

void Put(rocksdb::WriteBatch& batch, const std::string& key,
         const google::protobuf::MessageLite& value) {
  batch.Put(key, value.SerializeAsString());
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlockStore>> BlockStore::Open(
    const std::string& directory) {
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(TunedOptions(), directory, &db);
  if (status.ok()) {
    return std::unique_ptr<BlockStore>(
        new BlockStore(std::unique_ptr<rocksdb::DB>(db)));
  }
  if (status.IsIOError() &&
      status.ToString().find("lock") != std::string::npos) {
    return absl::FailedPreconditionError(
        absl::StrCat("another process has the block store ", directory,
                     " open: ", status.ToString()));
  }
  return Broken(absl::StrCat("be opened in ", directory), status.ToString());
}

BlockStore::BlockStore(std::unique_ptr<rocksdb::DB> db) : db_(std::move(db)) {}

BlockStore::~BlockStore() = default;

absl::StatusOr<store::ChainState> BlockStore::LoadState() const {
  store::ChainState state;
  const absl::Status status = Read(*db_, kStateKey, state);
  if (!status.ok() && !absl::IsNotFound(status)) return status;
  return state;
}

absl::StatusOr<std::int64_t> BlockStore::LastHeight() const {
  const std::unique_ptr<rocksdb::Iterator> last(
      db_->NewIterator(rocksdb::ReadOptions()));
  last->SeekForPrev(KeyOf(kBlock, INT64_MAX));
  if (!last->status().ok()) return Broken("read", last->status().ToString());
  if (!last->Valid() || last->key()[0] != kBlock) return 0;
  return HeightOf({last->key().data(), last->key().size()});
}

absl::StatusOr<v1::Block> BlockStore::LoadBlock(std::int64_t height) const {
  v1::Block block;
  TANDEM_RETURN_IF_ERROR(Read(*db_, KeyOf(kBlock, height), block));
  return block;
}

absl::StatusOr<ResponseFinalizeBlock> BlockStore::LoadResponse(
    std::int64_t height) const {
  ResponseFinalizeBlock response;
  TANDEM_RETURN_IF_ERROR(Read(*db_, KeyOf(kResponse, height), response));
  return response;
}

absl::Status BlockStore::SaveBlock(const v1::Block& block) {
  rocksdb::WriteBatch batch;
  Put(batch, KeyOf(kBlock, block.header().height()), block);
  return Write(batch);
}

absl::Status BlockStore::SaveResponse(std::int64_t height,
                                      const ResponseFinalizeBlock& response) {
  rocksdb::WriteBatch batch;
  Put(batch, KeyOf(kResponse, height), response);
  return Write(batch);
}

absl::Status BlockStore::SaveState(const store::ChainState& state,
                                   std::int64_t old_base) {
  rocksdb::WriteBatch batch;
  Put(batch, kStateKey, state);
  if (old_base < state.base_height()) {
    for (const char kind : {kBlock, kResponse}) {
      batch.DeleteRange(KeyOf(kind, old_base),
                        KeyOf(kind, state.base_height()));
    }
  }
  return Write(batch);
}

absl::Status BlockStore::Write(rocksdb::WriteBatch& batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  const rocksdb::Status status = db_->Write(options, &batch);
  return status.ok() ? absl::OkStatus() : Broken("write", status.ToString());
}

}  // namespace tandem::node

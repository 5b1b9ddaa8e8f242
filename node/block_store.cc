#include "node/block_store.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/message_lite.h"
#include "node/block.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"
#include "rpc/base/sha256.h"
#include "rpc/base/status_macros.h"
#include "rpc/storage/database.h"

namespace tandem::node {
namespace {

using tendermint::abci::ResponseFinalizeBlock;

// Keys: "s" is the state; "b" and "r" with a height of 8 bytes, most
// significant first, are a block and the application's response to it; "t" with
// the hash of a committed transaction has the height of its block, and 4 bytes
// for its place there.
constexpr char kStateKey[] = "s";
constexpr char kBlock = 'b';
constexpr char kResponse = 'r';
constexpr char kTransaction = 't';

// The last `bytes` of a number, most significant first.
void AppendNumber(std::uint64_t number, int bytes, std::string& out) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(number >> shift));
  }
}

std::uint64_t ReadNumber(std::string_view bytes) {
  std::uint64_t number = 0;
  for (const char c : bytes) {
    number = number << 8 | static_cast<unsigned char>(c);
  }
  return number;
}

std::string KeyOf(char kind, std::int64_t height) {
  std::string key(1, kind);
  AppendNumber(static_cast<std::uint64_t>(height), 8, key);
  return key;
}

std::int64_t HeightOf(std::string_view key) {
  return static_cast<std::int64_t>(ReadNumber(key.substr(1)));
}

std::string TransactionKey(std::string_view hash) {
  return absl::StrCat(std::string(1, kTransaction), std::string(hash));
}

absl::Status Broken(std::string_view what, std::string_view why) {
  return absl::DataLossError(absl::StrCat(
      "cannot ", std::string(what), " the block store: ", std::string(why)));
}

constexpr char kIfDamaged[] =
    "`tandem doctor --data` says what is damaged; restore the directory from a "
    "backup";

absl::Status Broken(std::string_view what, const rocksdb::Status& why) {
  return absl::DataLossError(
      rpc::DatabaseError(absl::StrCat(std::string(what), " the block store"),
                         why, kIfDamaged)
          .message());
}

rpc::DatabaseOptions OptionsFor(const std::string& directory) {
  return {.directory = directory, .if_damaged = kIfDamaged};
}

// The database, when it could be opened.
absl::StatusOr<std::unique_ptr<rocksdb::DB>> Opened(
    absl::StatusOr<std::unique_ptr<rocksdb::DB>> db) {
  if (db.ok() || absl::IsFailedPrecondition(db.status())) return db;
  return absl::DataLossError(
      absl::StrCat("the block store: ", db.status().message()));
}

absl::StatusOr<rocksdb::PinnableSlice> ReadBytes(rocksdb::DB& db,
                                                 const std::string& key) {
  rocksdb::PinnableSlice value;
  const rocksdb::Status status =
      db.Get(rocksdb::ReadOptions(), db.DefaultColumnFamily(), key, &value);
  if (status.IsNotFound()) return absl::NotFoundError("not in the block store");
  if (!status.ok()) return Broken("read", status);
  return value;
}

absl::Status Read(rocksdb::DB& db, const std::string& key,
                  google::protobuf::MessageLite& into) {
  TANDEM_ASSIGN_OR_RETURN(const rocksdb::PinnableSlice value,
                          ReadBytes(db, key));
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
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<rocksdb::DB> db,
                          Opened(rpc::OpenDatabase(OptionsFor(directory))));
  return std::unique_ptr<BlockStore>(new BlockStore(std::move(db)));
}

absl::StatusOr<std::unique_ptr<BlockStore>> BlockStore::OpenToRead(
    const std::string& directory) {
  TANDEM_ASSIGN_OR_RETURN(
      std::unique_ptr<rocksdb::DB> db,
      Opened(rpc::OpenDatabaseToRead(OptionsFor(directory))));
  return std::unique_ptr<BlockStore>(new BlockStore(std::move(db)));
}

absl::Status BlockStore::CheckFiles() const {
  const rocksdb::Status status = db_->VerifyChecksum();
  return status.ok() ? absl::OkStatus() : Broken("read", status);
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
  if (!last->status().ok()) return Broken("read", last->status());
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

absl::StatusOr<bool> BlockStore::HasResponse(std::int64_t height,
                                             std::string_view response) const {
  TANDEM_ASSIGN_OR_RETURN(const rocksdb::PinnableSlice saved,
                          ReadBytes(*db_, KeyOf(kResponse, height)));
  return saved == rocksdb::Slice(response);
}

absl::StatusOr<store::ResultCodes> BlockStore::LoadCodes(
    std::int64_t height) const {
  store::ResultCodes codes;
  TANDEM_RETURN_IF_ERROR(Read(*db_, KeyOf(kResponse, height), codes));
  return codes;
}

absl::StatusOr<v1::CommittedBlock> BlockStore::LoadCommitted(
    std::int64_t height) const {
  absl::StatusOr<v1::Block> block = LoadBlock(height);
  if (absl::IsNotFound(block.status())) {
    return absl::NotFoundError(
        absl::StrCat("this node does not keep block ", height));
  }
  TANDEM_RETURN_IF_ERROR(block.status());
  TANDEM_ASSIGN_OR_RETURN(ResponseFinalizeBlock response, LoadResponse(height));
  return MakeCommitted(*std::move(block), std::move(response));
}

absl::StatusOr<BlockStore::Place> BlockStore::FindTransaction(
    std::string_view hash) const {
  std::string value;
  const rocksdb::Status status =
      db_->Get(rocksdb::ReadOptions(), TransactionKey(hash), &value);
  if (status.IsNotFound()) return absl::NotFoundError("not in the block store");
  if (!status.ok()) return Broken("read", status);
  if (value.size() != 12) return Broken("read", "a record is no place");
  return Place{
      .height = static_cast<std::int64_t>(ReadNumber(value.substr(0, 8))),
      .index = static_cast<std::uint32_t>(ReadNumber(value.substr(8)))};
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
  TANDEM_RETURN_IF_ERROR(Forget(old_base, state.base_height(), batch));
  return Write(batch);
}

absl::Status BlockStore::SaveCommitted(const store::ChainState& state,
                                       const v1::CommittedBlock& committed,
                                       std::int64_t old_base) {
  rocksdb::WriteBatch batch;
  Put(batch, kStateKey, state);
  // Before the new ones, which may be in a block that is forgotten too.
  TANDEM_RETURN_IF_ERROR(Forget(old_base, state.base_height(), batch));
  std::string place;
  for (const v1::TxResult& result : committed.results()) {
    place.clear();
    AppendNumber(static_cast<std::uint64_t>(result.height()), 8, place);
    AppendNumber(result.index(), 4, place);
    batch.Put(TransactionKey(result.hash()), place);
  }
  return Write(batch);
}

absl::Status BlockStore::Forget(std::int64_t old_base, std::int64_t base,
                                rocksdb::WriteBatch& batch) const {
  for (std::int64_t height = old_base; height < base; ++height) {
    const absl::StatusOr<v1::Block> block = LoadBlock(height);
    if (absl::IsNotFound(block.status())) continue;
    TANDEM_RETURN_IF_ERROR(block.status());
    for (const std::string& tx : block->txs()) {
      const std::string hash = rpc::Sha256(tx);
      const absl::StatusOr<Place> place = FindTransaction(hash);
      if (place.ok() && place->height < base) {
        batch.Delete(TransactionKey(hash));
      }
    }
  }
  if (old_base < base) {
    for (const char kind : {kBlock, kResponse}) {
      batch.DeleteRange(KeyOf(kind, old_base), KeyOf(kind, base));
    }
  }
  return absl::OkStatus();
}

absl::Status BlockStore::Write(rocksdb::WriteBatch& batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  const rocksdb::Status status = db_->Write(options, &batch);
  return status.ok() ? absl::OkStatus() : Broken("write", status);
}

}  // namespace tandem::node

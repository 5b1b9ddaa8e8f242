// The node's durable memory: blocks, what the application answered to them, and
// the state of the chain.

#ifndef TANDEM_NODE_BLOCK_STORE_H_
#define TANDEM_NODE_BLOCK_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "node/chain_state.pb.h"
#include "tandem/node/v1/node.pb.h"
#include "tendermint/abci/types.pb.h"

namespace rocksdb {
class DB;
class WriteBatch;
}  // namespace rocksdb

namespace tandem::node {

// A RocksDB database in a directory of its own. Each Save is one atomic write,
// on the disk when it returns.
//
// Errors of all methods: kDataLoss when the disk fails or holds what cannot be
// read; the node must not go on then.
// Thread safety: thread-safe.
class BlockStore {
 public:
  // Opens the store in `directory`, or makes one. Errors also:
  // kFailedPrecondition when another process has it open.
  static absl::StatusOr<std::unique_ptr<BlockStore>> Open(
      const std::string& directory);

  // Opens the store that is there, for reading alone: no file is changed. What
  // a process that has it open writes meanwhile is not seen.
  static absl::StatusOr<std::unique_ptr<BlockStore>> OpenToRead(
      const std::string& directory);

  ~BlockStore();

  // Reads all files and compares them with their checksums.
  absl::Status CheckFiles() const;

  // The state that was saved last; without chain id when none was.
  absl::StatusOr<store::ChainState> LoadState() const;

  // The last block saved; 0 before the first. It is that of the state, or one
  // more when the node stopped in between.
  absl::StatusOr<std::int64_t> LastHeight() const;

  // Errors: kNotFound too.
  absl::StatusOr<v1::Block> LoadBlock(std::int64_t height) const;
  absl::StatusOr<tendermint::abci::ResponseFinalizeBlock> LoadResponse(
      std::int64_t height) const;

  // Whether these are the bytes of what LoadResponse would return; far quicker
  // than that. Errors: kNotFound too.
  absl::StatusOr<bool> HasResponse(std::int64_t height,
                                   std::string_view response) const;

  // The code of each transaction of a committed block; quicker than
  // LoadResponse.
  absl::StatusOr<store::ResultCodes> LoadCodes(std::int64_t height) const;

  // A block that is committed, with what came of it.
  absl::StatusOr<v1::CommittedBlock> LoadCommitted(std::int64_t height) const;

  // Where a transaction is.
  struct Place {
    std::int64_t height = 0;
    std::uint32_t index = 0;  // in the block, from 0
  };
  // The place of a committed transaction, by its SHA-256; of several, the last.
  // Errors: kNotFound too.
  absl::StatusOr<Place> FindTransaction(std::string_view hash) const;

  absl::Status SaveBlock(const v1::Block& block);
  absl::Status SaveResponse(
      std::int64_t height,
      const tendermint::abci::ResponseFinalizeBlock& response);
  // Also forgets the blocks before state.base_height(), which were there from
  // `old_base` on.
  absl::Status SaveState(const store::ChainState& state, std::int64_t old_base);
  // The same, when `committed` is the block that led to `state`: from then on
  // its transactions are found.
  absl::Status SaveCommitted(const store::ChainState& state,
                             const v1::CommittedBlock& committed,
                             std::int64_t old_base);

 private:
  explicit BlockStore(std::unique_ptr<rocksdb::DB> db);

  // Adds to `batch` that what is before `base` is forgotten.
  absl::Status Forget(std::int64_t old_base, std::int64_t base,
                      rocksdb::WriteBatch& batch) const;
  absl::Status Write(rocksdb::WriteBatch& batch);

  const std::unique_ptr<rocksdb::DB> db_;  // thread-safe itself
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_BLOCK_STORE_H_

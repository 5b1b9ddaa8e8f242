// The reference application: keys and values.

#ifndef TANDEM_APP_KVSTORE_KV_STORE_H_
#define TANDEM_APP_KVSTORE_KV_STORE_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "app/application.h"
#include "app/kvstore/state.pb.h"
#include "app/kvstore/state_store.h"
#include "app/kvstore/validator_set.h"
#include "rpc/server/data_directory.h"

namespace tandem::app {

// A durable key-value store that answers as CometBFT's kvstore does: the same
// transactions, codes, events, app hashes and queries (app/README.md). Where
// that one panics, this one refuses the transaction (code 2) or the call.
//
// A node that is at another point of the chain is kept from it by CallOrder,
// which AbciService has. InitChain is durable at once, and refused where tools
// have written: these send blocks of height 0, and begin no chain.
//
// Thread safety: as Application says.
class KvStore final : public Application {
 public:
  // The codes of transactions.
  static constexpr std::uint32_t kOk = 0;
  static constexpr std::uint32_t kInvalidFormat = 2;

  // Opens the store in a directory of its own, or makes it. Errors: those of
  // rpc::DataDirectory and StateStore.
  static absl::StatusOr<std::unique_ptr<KvStore>> Open(
      const std::string& directory);

  // What is in a directory.
  struct Summary {
    std::int64_t height = 0;
    std::string app_hash;
    std::int64_t transactions = 0;  // in all blocks
    std::int64_t keys = 0;
  };
  // Reads all of a store that no program uses, and changes nothing. Errors:
  // those of rpc::DataDirectory::OpenToRead and StateStore.
  static absl::StatusOr<Summary> Check(const std::string& directory);

  absl::StatusOr<abci::ResponseInitChain> InitChain(
      const abci::RequestInitChain& request) override;

  // Leaves out invalid transactions and writes '=' for ':'. Takes no more than
  // the answer to its FinalizeBlock has room for.
  absl::StatusOr<abci::ResponsePrepareProposal> PrepareProposal(
      const abci::RequestPrepareProposal& request) override;

  // Rejects a block with an invalid transaction.
  absl::StatusOr<abci::ResponseProcessProposal> ProcessProposal(
      const abci::RequestProcessProposal& request) override;

  // Takes 1 from the power of members that voted twice.
  absl::StatusOr<abci::ResponseFinalizeBlock> FinalizeBlock(
      const abci::RequestFinalizeBlock& request) override;

  absl::StatusOr<abci::ResponseCommit> Commit(
      const abci::RequestCommit& request) override;

  absl::StatusOr<abci::ResponseInfo> Info(
      const abci::RequestInfo& request) override;

  // The value of the key `data`; under the path "/val" the validator with the
  // raw key `data`. Errors: kOutOfRange for heights other than the committed
  // one (or 0), whose state is not kept.
  absl::StatusOr<abci::ResponseQuery> Query(
      const abci::RequestQuery& request) override;

  absl::StatusOr<abci::ResponseCheckTx> CheckTx(
      const abci::RequestCheckTx& request) override;

 private:
  // A block that is executed and not committed.
  struct Block {
    kvstore::State state;
    std::vector<Put> puts;
    ValidatorSet validators;
  };

  KvStore(rpc::DataDirectory directory, std::unique_ptr<StateStore> store,
          kvstore::State committed, ValidatorSet validators);

  // Stages one transaction. Errors: kInvalidArgument, and nothing is staged.
  static absl::Status Execute(std::string_view tx, Block& block);

  const rpc::DataDirectory directory_;
  const std::unique_ptr<StateStore> store_;

  // For consensus calls only: what is in store_, and what comes next.
  kvstore::State committed_;
  ValidatorSet validators_;
  std::optional<Block> staged_;
};

}  // namespace tandem::app

#endif  // TANDEM_APP_KVSTORE_KV_STORE_H_

#include "app/kvstore/kv_store.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "proto/abci/block_bytes.h"
#include "rpc/base/fail_point.h"
#include "rpc/base/status_macros.h"

namespace tandem::app {
namespace {

// What the reference application says of itself.
constexpr char kVersion[] = "2.0.0";
constexpr std::uint64_t kAppVersion = 1;

// Of what the data directory holds.
constexpr int kStoreVersion = 1;
constexpr char kDatabase[] = "state";

// The number of transactions as a zigzag varint, padded with zeros to 8 bytes.
std::string AppHash(const kvstore::State& state) {
  const auto zigzag = static_cast<std::uint64_t>(state.size()) * 2;
  std::uint8_t bytes[16] = {};
  google::protobuf::io::CodedOutputStream::WriteVarint64ToArray(zigzag, bytes);
  return std::string(reinterpret_cast<char*>(bytes), 8);
}

kvstore::Chain ReadChain(const abci::RequestInitChain& request) {
  kvstore::Chain chain;
  chain.set_chain_id(request.chain_id());
  *chain.mutable_pub_key_types() =
      request.consensus_params().validator().pub_key_types();
  return chain;
}

absl::StatusOr<ValidatorSet> ReadValidators(
    const abci::RequestInitChain& request, const kvstore::Chain& chain) {
  ValidatorSet validators(
      {chain.pub_key_types().begin(), chain.pub_key_types().end()});
  for (const abci::ValidatorUpdate& validator : request.validators()) {
    const absl::Status added = validators.Apply(validator);
    if (!added.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "InitChain: a validator of the genesis cannot be taken: ",
          std::string(added.message())));
    }
  }
  return validators;
}

}  // namespace

KvStore::KvStore(rpc::DataDirectory directory,
                 std::unique_ptr<StateStore> store, kvstore::State committed,
                 ValidatorSet validators)
    : directory_(std::move(directory)),
      store_(std::move(store)),
      committed_(std::move(committed)),
      validators_(std::move(validators)) {}

absl::StatusOr<std::unique_ptr<KvStore>> KvStore::Open(
    const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(
      rpc::DataDirectory directory,
      rpc::DataDirectory::Open({.path = path,
                                .program = "tandem-kvstore",
                                .store_version = kStoreVersion}));
  if (!directory.is_marked()) TANDEM_RETURN_IF_ERROR(directory.Mark());
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<StateStore> store,
                          StateStore::Open(directory.File(kDatabase)));
  rpc::FailPoint("kvstore/store-opened");
  TANDEM_ASSIGN_OR_RETURN(kvstore::State state, store->ReadState());
  TANDEM_ASSIGN_OR_RETURN(ValidatorSet validators,
                          store->ReadValidators(state));
  return std::unique_ptr<KvStore>(
      new KvStore(std::move(directory), std::move(store), std::move(state),
                  std::move(validators)));
}

absl::StatusOr<KvStore::Summary> KvStore::Check(const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(
      const rpc::DataDirectory directory,
      rpc::DataDirectory::OpenToRead({.path = path,
                                      .program = "tandem-kvstore",
                                      .store_version = kStoreVersion}));
  const std::string database = directory.File(kDatabase);
  std::error_code error;
  // The program ended before it made one.
  if (!std::filesystem::exists(database, error)) return Summary{};
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<StateStore> store,
                          StateStore::OpenToRead(database));
  TANDEM_ASSIGN_OR_RETURN(const std::int64_t keys, store->CheckAll());
  TANDEM_ASSIGN_OR_RETURN(const kvstore::State state, store->ReadState());
  return Summary{.height = state.height(),
                 .app_hash = AppHash(state),
                 .transactions = state.size(),
                 .keys = keys};
}

absl::StatusOr<abci::ResponseInitChain> KvStore::InitChain(
    const abci::RequestInitChain& request) {
  // Tools have written, at height 0.
  if (committed_.size() != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "InitChain: this store has ", committed_.size(),
        " transactions already: give the new chain a new data directory"));
  }
  StateStore::Changes changes;
  *changes.state.mutable_chain() = ReadChain(request);
  TANDEM_ASSIGN_OR_RETURN(ValidatorSet validators,
                          ReadValidators(request, changes.state.chain()));
  changes.validators = validators.ChangesSince(validators_);
  rpc::FailPoint("kvstore/init-chain-begun");
  TANDEM_RETURN_IF_ERROR(store_->Write(changes));
  rpc::FailPoint("kvstore/init-chain-written");
  committed_ = changes.state;
  validators_ = std::move(validators);
  staged_.reset();
  abci::ResponseInitChain answer;
  answer.set_app_hash(AppHash(committed_));
  return answer;
}

absl::StatusOr<abci::ResponsePrepareProposal> KvStore::PrepareProposal(
    const abci::RequestPrepareProposal& request) {
  abci::ResponsePrepareProposal proposal;
  std::int64_t room = request.max_tx_bytes();
  std::int64_t result_room = kMaxProposalBytes;
  for (const std::string& tx : request.txs()) {
    const std::int64_t bytes = ::tandem::abci::BytesInBlock(tx.size());
    if (!ParseTransaction(tx).ok() || bytes > request.max_tx_bytes()) continue;
    room -= bytes;
    result_room -= static_cast<std::int64_t>(MaxResultBytes(tx));
    if (room < 0 || result_room < 0) break;
    proposal.add_txs(Canonical(tx));
  }
  rpc::FailPoint("kvstore/proposal-made");
  return proposal;
}

absl::StatusOr<abci::ResponseProcessProposal> KvStore::ProcessProposal(
    const abci::RequestProcessProposal& request) {
  const bool valid = std::ranges::all_of(
      request.txs(),
      [](const std::string& tx) { return ParseTransaction(tx).ok(); });
  abci::ResponseProcessProposal verdict;
  verdict.set_status(valid ? abci::ResponseProcessProposal::ACCEPT
                           : abci::ResponseProcessProposal::REJECT);
  rpc::FailPoint("kvstore/proposal-judged");
  return verdict;
}

absl::Status KvStore::Execute(std::string_view tx, Block& block) {
  TANDEM_ASSIGN_OR_RETURN(Transaction transaction, ParseTransaction(tx));
  if (auto* put = std::get_if<Put>(&transaction)) {
    block.puts.push_back(std::move(*put));
    return absl::OkStatus();
  }
  TANDEM_ASSIGN_OR_RETURN(abci::ValidatorUpdate update,
                          ToValidatorUpdate(std::get<SetPower>(transaction)));
  return block.validators.Apply(update);
}

absl::StatusOr<abci::ResponseFinalizeBlock> KvStore::FinalizeBlock(
    const abci::RequestFinalizeBlock& request) {
  Block block = {.state = committed_, .puts = {}, .validators = validators_};
  for (const abci::Misbehavior& misbehavior : request.misbehavior()) {
    if (misbehavior.type() != abci::DUPLICATE_VOTE) continue;
    const abci::ValidatorUpdate* member =
        block.validators.FindByAddress(misbehavior.validator().address());
    // Who has left since is not punished, and the last member stays.
    if (member == nullptr) continue;
    abci::ValidatorUpdate update = *member;
    update.set_power(
        std::max<std::int64_t>(misbehavior.validator().power() - 1, 0));
    block.validators.Apply(update).IgnoreError();
  }
  abci::ResponseFinalizeBlock answer;
  for (const std::string& tx : request.txs()) {
    abci::ExecTxResult& result = *answer.add_tx_results();
    const absl::Status executed = Execute(tx, block);
    if (executed.ok()) {
      AddEvents(tx, result);
    } else {
      result.set_code(kInvalidFormat);
      result.set_log(std::string(executed.message()));
    }
  }
  block.state.set_height(request.height());
  block.state.set_size(block.state.size() + request.txs_size());
  for (abci::ValidatorUpdate& change :
       block.validators.ChangesSince(validators_)) {
    *answer.add_validator_updates() = std::move(change);
  }
  answer.set_app_hash(AppHash(block.state));
  staged_ = std::move(block);
  rpc::FailPoint("kvstore/block-staged");
  return answer;
}

absl::StatusOr<abci::ResponseCommit> KvStore::Commit(
    const abci::RequestCommit& request) {
  if (!staged_) {
    return absl::FailedPreconditionError("Commit: no block is staged");
  }
  Block block = *std::exchange(staged_, std::nullopt);
  rpc::FailPoint("kvstore/commit-begun");
  TANDEM_RETURN_IF_ERROR(store_->Write(
      {.state = block.state,
       .puts = std::move(block.puts),
       .validators = block.validators.ChangesSince(validators_)}));
  rpc::FailPoint("kvstore/commit-written");
  committed_ = std::move(block.state);
  validators_ = std::move(block.validators);
  return abci::ResponseCommit();
}

absl::StatusOr<abci::ResponseInfo> KvStore::Info(
    const abci::RequestInfo& request) {
  TANDEM_ASSIGN_OR_RETURN(kvstore::State state, store_->ReadState());
  abci::ResponseInfo info;
  info.set_data(absl::StrCat("{\"size\":", state.size(), "}"));
  info.set_version(kVersion);
  info.set_app_version(kAppVersion);
  info.set_last_block_height(state.height());
  info.set_last_block_app_hash(AppHash(state));
  return info;
}

absl::StatusOr<abci::ResponseQuery> KvStore::Query(
    const abci::RequestQuery& request) {
  const bool of_validator = request.path() == "/val";
  TANDEM_ASSIGN_OR_RETURN(StateStore::Found found,
                          of_validator ? store_->FindValidator(request.data())
                                       : store_->FindValue(request.data()));
  const std::int64_t height = found.state.height();
  if (request.height() != 0 && request.height() != height) {
    return absl::OutOfRangeError(
        absl::StrCat("Query: height ", request.height(), " is ",
                     request.height() > height ? "in the future" : "not kept",
                     "; ask for the last one, ", height, ", or for 0"));
  }
  abci::ResponseQuery answer;
  answer.set_key(request.data());
  if (found.value) answer.set_value(*found.value);
  if (of_validator) return answer;
  answer.set_log(found.value ? "exists" : "does not exist");
  answer.set_height(height);
  if (request.prove()) answer.set_index(-1);  // There are no proofs.
  return answer;
}

absl::StatusOr<abci::ResponseCheckTx> KvStore::CheckTx(
    const abci::RequestCheckTx& request) {
  abci::ResponseCheckTx answer;
  const auto transaction = ParseTransaction(request.tx());
  if (transaction.ok()) {
    answer.set_gas_wanted(1);
  } else {
    answer.set_code(kInvalidFormat);
    // Not as `log`, which the original leaves empty and its tools print.
    answer.set_info(std::string(transaction.status().message()));
  }
  rpc::FailPoint("kvstore/transaction-checked");
  return answer;
}

}  // namespace tandem::app

#include "node/store_check.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/message_differencer.h"
#include "node/block.h"
#include "node/block_store.h"
#include "node/chain_directory.h"
#include "node/merkle.h"
#include "node/recovery.h"
#include "node/validator_set.h"
#include "rpc/base/hex.h"
#include "rpc/base/sha256.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {
namespace {

using google::protobuf::util::MessageDifferencer;
using rpc::HexOrNone;
using tendermint::abci::ResponseFinalizeBlock;
using Fault = StoreReport::Fault;

constexpr char kRestore[] =
    "restore the node's directory from a backup; the application then needs "
    "to be at the backup's height or before it";

void AddFault(StoreReport& report, Fault fault) {
  // What is damaged in a file is said once, not for all that lies there.
  for (const Fault& said : report.faults) {
    if (said.height == 0 && absl::StrContains(fault.what, said.what)) return;
  }
  if (report.faults.size() < StoreReport::kMostFaults) {
    report.faults.push_back(std::move(fault));
  } else if (report.faults.size() == StoreReport::kMostFaults) {
    report.faults.push_back({fault.height, "there is more, not shown", ""});
  }
}

// One walk through a store.
class StoreCheck {
 public:
  StoreCheck(const BlockStore& store, ChainState state, StoreReport& report)
      : store_(store), state_(std::move(state)), report_(report) {}

  absl::Status CheckBlocks(
      const std::function<void(std::int64_t, std::int64_t)>& progress);
  void CheckApp(const AppPosition& app);

 private:
  // What a block is compared with: the one before it.
  struct Previous {
    v1::Header header;
    ResponseFinalizeBlock response;
  };

  void Add(std::int64_t height, std::string what,
           std::string remedy = kRestore) {
    AddFault(report_, {height, std::move(what), std::move(remedy)});
  }
  void Expect(bool holds, std::int64_t height, const char* what) {
    if (!holds) Add(height, what);
  }

  void CheckBlock(std::int64_t height, const v1::Block& block);
  void CheckChain(std::int64_t height, const v1::Block& block);
  void CheckIndex(std::int64_t height, const v1::Block& block);
  // Also that it fits the block; nothing where there is none.
  std::optional<ResponseFinalizeBlock> CheckResponse(std::int64_t height,
                                                     const v1::Block& block);
  void CheckState(const Previous& last);

  const BlockStore& store_;
  const ChainState state_;
  StoreReport& report_;
  std::optional<Previous> previous_;
};

absl::Status StoreCheck::CheckBlocks(
    const std::function<void(std::int64_t, std::int64_t)>& progress) {
  TANDEM_ASSIGN_OR_RETURN(const std::int64_t last, store_.LastHeight());
  const std::int64_t first =
      state_.height() > 0 ? state_.base_height() : NextHeight(state_);
  report_.last_block = last;
  if (last > 0) report_.first_block = first;
  if (last != state_.height() && last != NextHeight(state_)) {
    Add(0, absl::StrCat("the last block is ", last, ", the state is that of ",
                        "block ", state_.height()));
  }
  for (std::int64_t height = first; height <= last; ++height) {
    progress(height - first, last - first + 1);
    const auto block = store_.LoadBlock(height);
    if (!block.ok()) {
      Add(height, absl::IsNotFound(block.status())
                      ? "it is missing"
                      : std::string(block.status().message()));
      previous_.reset();
      continue;
    }
    CheckBlock(height, *block);
    CheckChain(height, *block);
    auto response = CheckResponse(height, *block);
    if (height <= state_.height()) CheckIndex(height, *block);
    report_.transactions += block->txs_size();
    previous_.reset();
    if (!response) continue;
    previous_ = Previous{block->header(), *std::move(response)};
    if (height == state_.height()) CheckState(*previous_);
  }
  return absl::OkStatus();
}

void StoreCheck::CheckBlock(std::int64_t height, const v1::Block& block) {
  const v1::Header& header = block.header();
  Expect(header.height() == height, height, "its header has another height");
  Expect(header.chain_id() == state_.chain_id(), height,
         "it is another chain's");
  Expect(header.transactions_root() == TransactionsRoot(block.txs()), height,
         "its transactions_root is not that of its transactions");
  const v1::Commit& commit = block.last_commit();
  Expect(header.last_commit_hash() == HashOf(commit), height,
         "its last_commit_hash is not that of its last commit");
  if (height == state_.initial_height()) {
    Expect(header.last_block_hash().empty(), height,
           "it is the first, and names a block before it");
    Expect(header.last_results_hash() == MerkleRoot({}), height,
           "it is the first, and names results before it");
    return;
  }
  Expect(commit.height() == height - 1 &&
             commit.block_hash() == header.last_block_hash(),
         height, "its last commit is that of another block");
}

void StoreCheck::CheckChain(std::int64_t height, const v1::Block& block) {
  if (!previous_) return;
  const v1::Header& header = block.header();
  const v1::Header& before = previous_->header;
  const ResponseFinalizeBlock& response = previous_->response;
  Expect(header.last_block_hash() == HashOf(before), height,
         "its last_block_hash is not that of the block before");
  if (header.app_hash() != response.app_hash()) {
    Add(height, absl::StrCat("its app hash is ", HexOrNone(header.app_hash()),
                             ", the saved response to the block before has ",
                             HexOrNone(response.app_hash())));
  }
  Expect(header.last_results_hash() == ResultsHash(response.tx_results()),
         height,
         "its last_results_hash is not that of the saved response to the "
         "block before");
  Expect(header.validators_hash() == before.next_validators_hash(), height,
         "its validators_hash is not what the block before announces");
  Expect(!response.validator_updates().empty() ||
             header.next_validators_hash() == before.next_validators_hash(),
         height,
         "its next_validators_hash changes, and the saved response to the "
         "block before has no update");
  Expect(response.has_consensus_param_updates() ||
             header.consensus_hash() == before.consensus_hash(),
         height,
         "its consensus_hash changes, and the saved response to the block "
         "before has no update");
}

std::optional<ResponseFinalizeBlock> StoreCheck::CheckResponse(
    std::int64_t height, const v1::Block& block) {
  auto response = store_.LoadResponse(height);
  if (absl::IsNotFound(response.status())) {
    // The one after the state may have none yet.
    Expect(height > state_.height(), height, "the response to it is missing");
    return std::nullopt;
  }
  if (!response.ok()) {
    Add(height, std::string(response.status().message()));
    return std::nullopt;
  }
  if (response->tx_results_size() != block.txs_size()) {
    Add(height,
        absl::StrCat("the response to it has ", response->tx_results_size(),
                     " results for ", block.txs_size(), " transactions"));
  }
  return *std::move(response);
}

void StoreCheck::CheckIndex(std::int64_t height, const v1::Block& block) {
  for (int i = 0; i < block.txs_size(); ++i) {
    const std::string hash = rpc::Sha256(block.txs(i));
    const auto place = store_.FindTransaction(hash);
    const auto index = static_cast<std::uint32_t>(i);
    if (place.ok() && place->height == height && place->index == index) {
      continue;
    }
    const std::string which =
        absl::StrCat("its transaction ", i, " (", HexOrNone(hash), ")");
    if (!place.ok()) {
      Add(height, absl::IsNotFound(place.status())
                      ? which + " is not in the index"
                      : absl::StrCat(which, ": ", place.status().message()));
      continue;
    }
    // Of a transaction that is there more than once, the last place is kept.
    const auto other = place->height == height
                           ? absl::StatusOr<v1::Block>(block)
                           : store_.LoadBlock(place->height);
    const bool is_later = place->height > height ||
                          (place->height == height && place->index > index);
    if (is_later && other.ok() &&
        place->index < static_cast<std::uint32_t>(other->txs_size()) &&
        other->txs(static_cast<int>(place->index)) == block.txs(i)) {
      continue;
    }
    Add(height, absl::StrCat(which, " is indexed at place ", place->index,
                             " of block ", place->height, ", where it is not"));
  }
}

void StoreCheck::CheckState(const Previous& last) {
  const std::int64_t height = state_.height();
  const v1::Header& header = last.header;
  Expect(state_.block_hash() == HashOf(header), height,
         "its hash is not that of the state");
  Expect(state_.app_hash() == last.response.app_hash(), height,
         "the app hash of its response is not that of the state");
  Expect(state_.last_results_hash() == ResultsHash(last.response.tx_results()),
         height, "the results of its response are not those of the state");
  Expect(MessageDifferencer::Equals(state_.time(), header.time()), height,
         "its time is not that of the state");
  Expect(HashOf(state_.last_validators()) == header.validators_hash() &&
             HashOf(state_.validators()) == header.next_validators_hash(),
         height, "its validators are not those of the state");
}

void StoreCheck::CheckApp(const AppPosition& app) {
  tendermint::abci::ResponseInfo info;
  info.set_last_block_height(app.height);
  info.set_last_block_app_hash(app.app_hash);
  const absl::Status agreement = CheckAgreement(info, store_, state_);
  // What is broken here was said.
  if (agreement.ok() || absl::IsDataLoss(agreement)) return;
  const bool is_whole = state_.base_height() <= state_.initial_height();
  Add(0, std::string(agreement.message()),
      state_.height() > 0 && is_whole
          ? "if it is the application that is wrong, move its directory away: "
            "the node has all blocks, and gives it the chain again"
          : "");
}

}  // namespace

absl::StatusOr<StoreReport> CheckStore(
    const std::string& directory, const std::optional<AppPosition>& app,
    const std::function<void(std::int64_t done, std::int64_t all)>& progress) {
  TANDEM_ASSIGN_OR_RETURN(const ChainDirectory::Reading data,
                          ChainDirectory::OpenToRead(directory));
  StoreReport report;
  const auto add = [&report](const absl::Status& status) {
    AddFault(report, {0, std::string(status.message()), kRestore});
  };
  if (!data.genesis.ok()) add(data.genesis.status());
  if (!data.key.ok()) add(data.key);
  if (!data.has_blocks) return report;  // It has not begun.
  const auto store = BlockStore::OpenToRead(data.blocks);
  if (!store.ok()) {
    add(store.status());
    return report;
  }
  if (const absl::Status files = (*store)->CheckFiles(); !files.ok()) {
    add(files);
  }
  auto state = (*store)->LoadState();
  if (!state.ok()) {
    add(state.status());
    return report;
  }
  // Nothing is saved before InitChain.
  if (state->chain_id().empty() && data.genesis.ok()) {
    state->set_chain_id(data.genesis->chain_id);
    state->set_initial_height(data.genesis->initial_height);
  }
  report.chain_id = state->chain_id();
  report.height = state->height();
  report.app_hash = state->app_hash();
  StoreCheck check(**store, *std::move(state), report);
  if (const absl::Status read = check.CheckBlocks(progress); !read.ok()) {
    add(read);
  }
  if (app) check.CheckApp(*app);
  return report;
}

}  // namespace tandem::node

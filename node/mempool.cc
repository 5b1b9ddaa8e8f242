#include "node/mempool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/abci/block_bytes.h"
#include "rpc/base/sha256.h"

namespace tandem::node {
namespace {

using rpc::MutexLock;
using tendermint::abci::ResponseCheckTx;

// A connection that broke, or an application that is overloaded, says nothing
// about the transaction.
bool SaysNothing(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsCancelled(status) ||
         absl::IsResourceExhausted(status);
}

absl::Status Unfinished(const absl::Status& why) {
  return absl::UnknownError(absl::StrCat(
      why.message(),
      "; the block with the transaction was begun: whether it is committed, "
      "tandem tx (GetTransaction) says when the node is back"));
}

}  // namespace

Mempool::Mempool(MempoolLimits limits, std::function<void()> on_ready)
    : limits_(limits),
      on_ready_(std::move(on_ready)),
      away_(absl::UnavailableError("the application is not there yet")) {}

Mempool::~Mempool() { Detach(absl::UnavailableError("the node stops")); }

void Mempool::Tell(const Notices& notices) {
  for (const Notice& notice : notices) {
    if (notice.watcher == nullptr) continue;
    if (notice.result != nullptr) {
      notice.watcher->OnCommitted(notice.place, *notice.result);
    } else {
      notice.watcher->OnRefused(notice.place, notice.why);
    }
  }
}

Mempool::Hash Mempool::ToHash(std::string_view sha256) {
  Hash hash = {};
  std::copy_n(sha256.begin(), std::min(sha256.size(), hash.size()),
              hash.begin());
  return hash;
}

Mempool::Hash Mempool::HashOfTx(const std::string& tx) {
  return ToHash(rpc::Sha256(tx));
}

void Mempool::Submit(google::protobuf::RepeatedPtrField<std::string> txs,
                     std::shared_ptr<SubmissionWatcher> watcher) {
  Notices notices;
  for (int place = 0; place < txs.size(); ++place) {
    std::string& tx = *txs.Mutable(place);
    const Hash hash = HashOfTx(tx);
    MutexLock lock(mu_);
    if (absl::Status status = MayEnter(tx, hash); !status.ok()) {
      notices.push_back({watcher, place, std::move(status)});
      continue;
    }
    bytes_ += tx.size();
    entries_.push_back({.tx = std::move(tx),
                        .hash = hash,
                        .sequence = next_sequence_++,
                        .watcher = watcher,
                        .place = place});
    const auto entry = std::prev(entries_.end());
    by_hash_.emplace(hash, entry);
    if (next_check_ == entries_.end()) next_check_ = entry;
  }
  Tell(notices);
  SendChecks();
}

absl::Status Mempool::MayEnter(const std::string& tx, const Hash& hash) const {
  if (tx.empty()) {
    return absl::InvalidArgumentError("the transaction is empty");
  }
  if (tx.size() > limits_.max_transaction_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the transaction has ", tx.size(),
                     " bytes, the node takes ", limits_.max_transaction_bytes));
  }
  if (by_hash_.contains(hash)) {
    return absl::AlreadyExistsError("the transaction is in the mempool");
  }
  if (committed_by_hash_.contains(hash)) {
    return absl::AlreadyExistsError("the transaction is committed already");
  }
  if (!closed_.ok()) return closed_;
  if (app_ == nullptr) return away_;
  if (absl::Status status = CheckSize(tx.size()); !status.ok()) return status;
  if (entries_.size() >= limits_.max_transactions ||
      bytes_ + tx.size() > limits_.max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the mempool is full: ", entries_.size(),
                     " transactions, ", bytes_, " bytes; try again"));
  }
  return absl::OkStatus();
}

v1::MempoolStatus Mempool::GetStatus() const {
  v1::MempoolStatus status;
  status.set_max_transactions(limits_.max_transactions);
  status.set_max_bytes(limits_.max_bytes);
  status.set_max_transaction_bytes(limits_.max_transaction_bytes);
  MutexLock lock(mu_);
  status.set_transactions(entries_.size());
  status.set_bytes(bytes_);
  return status;
}

bool Mempool::Has(std::string_view hash) const {
  MutexLock lock(mu_);
  return by_hash_.contains(ToHash(hash));
}

void Mempool::Remember(const std::vector<std::string>& hashes) {
  MutexLock lock(mu_);
  for (const std::string& hash : hashes) RememberOne(ToHash(hash));
}

void Mempool::Drain(absl::Status why, absl::Duration limit) {
  MutexLock lock(mu_);
  closed_ = std::move(why);
  mu_.AwaitFor(limit, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return entries_.empty() || app_ == nullptr;
  });
}

void Mempool::Attach(AppConnection* app) {
  {
    MutexLock lock(mu_);
    app_ = app;
    CheckAllAgain();
  }
  SendChecks();
}

void Mempool::Detach(absl::Status why) {
  Notices notices;
  {
    MutexLock lock(mu_);
    app_ = nullptr;
    away_ = why;
    is_paused_ = false;
    mu_.NotifyAll();
    mu_.Await([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return callbacks_ == 0 && !is_sending_;
    });
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      const auto next = std::next(entry);
      if (!entry->was_accepted) Drop(entry, why, notices);
      entry = next;
    }
  }
  Tell(notices);
}

void Mempool::SetBlockLimits(std::int64_t max_bytes, std::int64_t max_gas) {
  MutexLock lock(mu_);
  max_block_bytes_ = max_bytes;
  max_block_gas_ = max_gas;
}

bool Mempool::has_ready() const {
  MutexLock lock(mu_);
  return ready_ > 0;
}

void Mempool::AwaitChecks(std::size_t enough, absl::Duration limit) {
  MutexLock lock(mu_);
  awaited_before_ = next_sequence_;
  awaited_ = entries_.size() - ready_;
  mu_.AwaitFor(limit, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return awaited_ == 0 || ready_ >= enough;
  });
  awaited_before_ = 0;
}

void Mempool::Pause() {
  MutexLock lock(mu_);
  is_paused_ = true;
  mu_.Await([this]()
                ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return in_flight_ == 0; });
}

Transactions Mempool::Reap() {
  Transactions txs;
  std::int64_t bytes = 0;
  std::int64_t gas = 0;
  MutexLock lock(mu_);
  for (auto entry = entries_.begin(); entry != next_check_; ++entry) {
    if (entry->state != State::kReady) continue;
    bytes += abci::BytesInBlock(entry->tx.size());
    if (bytes > max_block_bytes_) break;
    if (max_block_gas_ >= 0) {
      if (entry->gas > max_block_gas_ - gas) break;
      gas += entry->gas;
    }
    entry->is_offered = true;
    txs.Add(std::string(entry->tx));
  }
  return txs;
}

void Mempool::TakeBack() {
  MutexLock lock(mu_);
  for (Entry& entry : entries_) entry.is_offered = false;
}

void Mempool::Update(const v1::CommittedBlock& block) {
  Notices notices;
  {
    MutexLock lock(mu_);
    bool took_offered = false;
    std::size_t others = 0;
    for (const v1::TxResult& result : block.results()) {
      const Hash hash = ToHash(result.hash());
      if (result.code() == 0) RememberOne(hash);
      const auto found = by_hash_.find(hash);
      if (found == by_hash_.end()) {
        ++others;
        continue;
      }
      const auto entry = found->second;
      took_offered |= entry->is_offered;
      notices.push_back({.watcher = std::move(entry->watcher),
                         .place = entry->place,
                         .why = absl::OkStatus(),
                         .result = &result});
      Erase(entry);
    }
    DropUntaken(block.block().header().height(),
                took_offered ? others : entries_.size(), notices);
    CheckAllAgain();
    mu_.NotifyAll();
  }
  Tell(notices);
}

void Mempool::DropUntaken(std::int64_t height, std::size_t count,
                          Notices& notices) {
  for (auto entry = entries_.begin(); entry != entries_.end() && count > 0;) {
    const auto next = std::next(entry);
    if (entry->is_offered) {
      --count;
      Drop(entry,
           absl::AbortedError(absl::StrCat(
               "the application put the transaction in another form in block ",
               height, ", or left it out")),
           notices);
    }
    entry = next;
  }
}

void Mempool::Resume() {
  {
    MutexLock lock(mu_);
    is_paused_ = false;
  }
  SendChecks();
}

void Mempool::TellStuck(const absl::Status& why) {
  const absl::Status stuck =
      absl::UnknownError(absl::StrCat(why.message(),
                                      "; the transaction is handed in, and may "
                                      "be committed when that is over"));
  Notices notices;
  {
    MutexLock lock(mu_);
    for (Entry& entry : entries_) {
      notices.push_back({std::move(entry.watcher), entry.place, stuck});
    }
  }
  Tell(notices);
}

void Mempool::Clear(const absl::Status& why) {
  Detach(why);
  Notices notices;
  {
    MutexLock lock(mu_);
    while (!entries_.empty()) {
      const auto entry = entries_.begin();
      Drop(entry, entry->is_offered ? Unfinished(why) : why, notices);
    }
  }
  Tell(notices);
}

absl::Status Mempool::CheckSize(std::size_t size) const {
  if (abci::BytesInBlock(size) <= max_block_bytes_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the transaction has ", size,
                                                 " bytes, a block holds ",
                                                 max_block_bytes_));
}

absl::Status Mempool::CheckGas(std::int64_t gas) const {
  if (gas < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the application says the transaction wants ", gas, " gas"));
  }
  if (max_block_gas_ >= 0 && gas > max_block_gas_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the transaction wants ", gas, " gas, a block has ", max_block_gas_));
  }
  return absl::OkStatus();
}

void Mempool::RememberOne(const Hash& hash) {
  if (limits_.cache_size == 0 || committed_by_hash_.contains(hash)) return;
  if (committed_.size() >= limits_.cache_size) {
    committed_by_hash_.erase(committed_.front());
    committed_.pop_front();
  }
  committed_.push_back(hash);
  committed_by_hash_.emplace(hash, std::prev(committed_.end()));
}

void Mempool::Drop(Entries::iterator entry, absl::Status why,
                   Notices& notices) {
  notices.push_back({std::move(entry->watcher), entry->place, std::move(why)});
  Erase(entry);
}

void Mempool::Erase(Entries::iterator entry) {
  if (entry->state == State::kReady) --ready_;
  if (entry == next_check_) ++next_check_;
  bytes_ -= entry->tx.size();
  by_hash_.erase(entry->hash);
  entries_.erase(entry);
}

void Mempool::CheckAllAgain() {
  for (Entry& entry : entries_) {
    entry.state = State::kWaiting;
    entry.is_offered = false;
  }
  ready_ = 0;
  next_check_ = entries_.begin();
}

void Mempool::SendChecks() {
  {
    MutexLock lock(mu_);
    // The thread that sends goes on while the window has room.
    if (is_sending_) return;
    is_sending_ = true;
  }
  AppConnection* app = nullptr;
  Entries::iterator entry;
  tendermint::abci::RequestCheckTx request;
  for (std::size_t sent = 0; NextCheck(sent, &app, &entry); ++sent) {
    request.set_tx(entry->tx);
    request.set_type(entry->was_accepted ? tendermint::abci::RECHECK
                                         : tendermint::abci::NEW);
    app->CheckTx(request,
                 [this, entry](absl::StatusOr<ResponseCheckTx> answer) {
                   OnAnswer(entry, std::move(answer));
                   SendChecks();
                   MutexLock lock(mu_);
                   --callbacks_;
                   mu_.NotifyAll();
                 });
  }
}

bool Mempool::NextCheck(std::size_t sent, AppConnection** app,
                        Entries::iterator* entry) {
  MutexLock lock(mu_);
  const bool has_work =
      app_ != nullptr && !is_paused_ && next_check_ != entries_.end();
  // A thread sends one window, and leaves the rest to those that answers come
  // on: they call SendChecks() too.
  const std::size_t window = limits_.checks_in_flight;
  const bool may_send =
      in_flight_ == 0 || (in_flight_ < window && sent < window);
  if (!has_work || !may_send) {
    is_sending_ = false;
    mu_.NotifyAll();
    return false;
  }
  *app = app_;
  *entry = next_check_++;
  (*entry)->state = State::kChecking;
  ++in_flight_;
  ++callbacks_;
  return true;
}

absl::Status Mempool::Judge(
    Entries::iterator entry,
    const absl::StatusOr<ResponseCheckTx>& answer) const {
  if (!answer.ok()) {
    // No code of the application's is kept: it could be taken for one of ours.
    const absl::Status& why = answer.status();
    if (SaysNothing(why) || absl::IsDeadlineExceeded(why)) {
      return absl::UnavailableError(why.message());
    }
    return absl::InternalError(absl::StrCat(
        why.message(), " (", absl::StatusCodeToString(why.code()), ")"));
  }
  if (answer->code() != 0) {
    return absl::AbortedError(absl::StrCat(
        "the application refused the transaction when it checked it again: "
        "code ",
        answer->code(), " ", answer->log()));
  }
  MutexLock lock(mu_);
  // The application may have changed the limits since it came in.
  if (absl::Status fits = CheckSize(entry->tx.size()); !fits.ok()) return fits;
  return CheckGas(answer->gas_wanted());
}

void Mempool::OnAnswer(Entries::iterator entry,
                       absl::StatusOr<ResponseCheckTx> answer) {
  const absl::Status verdict = Judge(entry, answer);
  // Until its state changes below, the entry is ours alone. Its watcher is told
  // that it was accepted before it can be in a block, and that it was refused
  // once it has left the pool, so that it may be submitted again.
  const int place = entry->place;
  std::shared_ptr<SubmissionWatcher> refused;
  if (!entry->was_accepted && entry->watcher != nullptr) {
    if (answer.ok() && answer->code() != 0) {
      refused = std::move(entry->watcher);
    } else if (verdict.ok() && !entry->watcher->OnChecked(place, *answer)) {
      entry->watcher.reset();
    }
  }
  Notices notices;
  bool is_first = false;
  {
    MutexLock lock(mu_);
    --in_flight_;
    if (entry->sequence < awaited_before_) --awaited_;
    if (verdict.ok()) {
      entry->state = State::kReady;
      entry->was_accepted = true;
      entry->gas = answer->gas_wanted();
      is_first = ++ready_ == 1;
    } else if (entry->was_accepted && SaysNothing(answer.status())) {
      entry->state = State::kReady;  // by the check before
      is_first = ++ready_ == 1;
    } else {
      Drop(entry, verdict, notices);
    }
    mu_.NotifyAll();
  }
  if (refused != nullptr) refused->OnChecked(place, *answer);
  Tell(notices);
  if (is_first) on_ready_();
}

}  // namespace tandem::node

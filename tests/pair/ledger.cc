#include "tests/pair/ledger.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem {

absl::Status ChainReader::Read(const node::v1::CommittedBlock& block) {
  const node::v1::Header& header = block.block().header();
  if (header.height() != next_) {
    return absl::DataLossError(
        absl::StrCat("block ", header.height(), " came for block ", next_));
  }
  if (!hashes_.empty() && header.last_block_hash() != hashes_.back()) {
    return absl::DataLossError(
        absl::StrCat("block ", next_, " does not follow the one before"));
  }
  hashes_.push_back(block.hash());
  ++next_;
  return absl::OkStatus();
}

void Ledger::Committed(const std::string& tx, std::int64_t height) {
  rpc::MutexLock lock(mu_);
  const auto [entry, is_new] = committed_.emplace(tx, height);
  if (is_new || entry->second == height) return;
  complaints_.push_back(absl::StrCat(tx, " is in block ", entry->second,
                                     ", and then in ", height));
}

void Ledger::Refused(const std::string& tx) {
  rpc::MutexLock lock(mu_);
  refused_.insert(tx);
}

void Ledger::Complain(std::string what) {
  rpc::MutexLock lock(mu_);
  complaints_.push_back(std::move(what));
}

std::vector<std::string> Ledger::Audit(node::v1::NodeClient& node,
                                       std::int64_t height) {
  std::unordered_map<std::string, std::int64_t> found;
  ChainReader chain;
  node::v1::SubscribeRequest request;
  request.set_from_height(1);
  auto blocks = node.Subscribe(request);
  node::v1::CommittedBlock block;
  while (chain.next() <= height && blocks.Read(&block)) {
    if (const auto read = chain.Read(block); !read.ok()) {
      Complain(absl::StrCat("the audit: ", read.message()));
      return chain.hashes();
    }
    for (const std::string& tx : block.block().txs()) {
      const auto [first, is_new] = found.emplace(tx, chain.next() - 1);
      if (is_new) continue;
      Complain(absl::StrCat(tx, " is in the blocks ", first->second, " and ",
                            chain.next() - 1));
    }
  }
  if (chain.next() <= height) {
    Complain(absl::StrCat("the audit saw no block ", chain.next(), " of ",
                          height, ": ", blocks.status().message()));
  }
  rpc::MutexLock lock(mu_);
  Compare(found);
  return chain.hashes();
}

void Ledger::Compare(
    const std::unordered_map<std::string, std::int64_t>& found) {
  for (const auto& [tx, height] : committed_) {
    const auto place = found.find(tx);
    if (place == found.end()) {
      complaints_.push_back(
          absl::StrCat("LOST: ", tx, ", of block ", height, ", is in none"));
    } else if (place->second != height) {
      complaints_.push_back(
          absl::StrCat(tx, ", of block ", height, ", is in ", place->second));
    }
  }
  for (const std::string& tx : refused_) {
    if (found.contains(tx)) {
      complaints_.push_back(absl::StrCat(tx, ", refused, is in a block"));
    }
  }
  for (const auto& [tx, height] : found) {
    if (!committed_.contains(tx)) {
      complaints_.push_back(
          absl::StrCat(tx, ", of block ", height, ", is nobody's"));
    }
  }
}

std::size_t Ledger::committed() const {
  rpc::MutexLock lock(mu_);
  return committed_.size();
}

std::size_t Ledger::refused() const {
  rpc::MutexLock lock(mu_);
  return refused_.size();
}

std::vector<std::string> Ledger::Sample(std::size_t count) const {
  rpc::MutexLock lock(mu_);
  std::vector<std::string> sample;
  for (const auto& [tx, height] : committed_) {
    if (sample.size() == count) break;
    sample.push_back(tx);
  }
  return sample;
}

std::vector<std::string> Ledger::complaints() const {
  rpc::MutexLock lock(mu_);
  return complaints_;
}

}  // namespace tandem

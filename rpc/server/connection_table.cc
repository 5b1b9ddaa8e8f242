#include "rpc/server/connection_table.h"

#include <charconv>
#include <cstddef>

namespace tandem::rpc {

void ConnectionTable::Set(int fd, const Caller& caller) {
  MutexLock lock(mu_);
  const auto slot = static_cast<std::size_t>(fd);
  if (slot >= callers_.size()) callers_.resize(slot + 1);
  callers_[slot] = caller;
}

std::optional<Caller> ConnectionTable::Find(std::string_view peer) const {
  if (!peer.starts_with("fd:")) return std::nullopt;
  peer.remove_prefix(3);
  std::size_t slot = 0;
  const auto [end, error] =
      std::from_chars(peer.data(), peer.data() + peer.size(), slot);
  if (error != std::errc() || end != peer.data() + peer.size()) {
    return std::nullopt;
  }
  MutexLock lock(mu_);
  if (slot >= callers_.size() || callers_[slot].connection_id == 0) {
    return std::nullopt;
  }
  return callers_[slot];
}

}  // namespace tandem::rpc

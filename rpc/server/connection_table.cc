#include "rpc/server/connection_table.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace tandem::rpc {

void ConnectionTable::Set(int fd,
                          std::shared_ptr<ServerConnection> connection) {
  const auto number = static_cast<std::size_t>(fd);
  Shard& shard = shards_[number % kShards];
  const std::size_t slot = number / kShards;
  MutexLock lock(shard.mu);
  if (slot >= shard.connections.size()) shard.connections.resize(slot + 1);
  shard.connections[slot] = std::move(connection);
}

std::shared_ptr<ServerConnection> ConnectionTable::Find(
    std::string_view peer) const {
  if (!peer.starts_with("fd:")) return nullptr;
  peer.remove_prefix(3);
  std::size_t number = 0;
  const auto [end, error] =
      std::from_chars(peer.data(), peer.data() + peer.size(), number);
  if (error != std::errc() || end != peer.data() + peer.size()) {
    return nullptr;
  }
  const Shard& shard = shards_[number % kShards];
  const std::size_t slot = number / kShards;
  MutexLock lock(shard.mu);
  return slot < shard.connections.size() ? shard.connections[slot] : nullptr;
}

std::vector<std::shared_ptr<ServerConnection>> ConnectionTable::Open() const {
  std::vector<std::shared_ptr<ServerConnection>> open;
  for (const Shard& shard : shards_) {
    MutexLock lock(shard.mu);
    for (const auto& connection : shard.connections) {
      if (connection != nullptr && connection->is_open()) {
        open.push_back(connection);
      }
    }
  }
  std::sort(open.begin(), open.end(), [](const auto& one, const auto& other) {
    return one->caller().connection_id < other->caller().connection_id;
  });
  return open;
}

}  // namespace tandem::rpc

#include "rpc/wire/ttrpc/ttrpc_wire.h"

#include <utility>

#include "absl/status/status.h"
#include "rpc/wire/ttrpc/frame.h"

namespace tandem::rpc {
namespace {

// For clients to read that their calls were cancelled.
constexpr absl::Duration kLastWords = absl::Milliseconds(300);

}  // namespace

Verdict TtrpcWire::Judge(std::string_view seen) const {
  return ttrpc::JudgeFirstBytes(seen);
}

absl::Status TtrpcWire::Start(const WireParts& parts) {
  table_ = std::make_shared<ttrpc::MethodTable>(parts);
  poller_ = parts.poller;
  refusals_ = parts.refusals;
  return absl::OkStatus();
}

void TtrpcWire::Serve(UniqueFd socket,
                      std::shared_ptr<ServerConnection> connection) {
  const std::uint64_t id = connection->caller().connection_id;
  const auto served = std::make_shared<ttrpc::ServedConnection>(
      std::move(socket), std::move(connection), poller_->Next(), table_,
      [this, id] {
        MutexLock lock(mu_);
        connections_.erase(id);
        if (connections_.empty()) mu_.NotifyAll();
      });
  {
    MutexLock lock(mu_);
    connections_.emplace(id, served);
  }
  const absl::Status begun = served->Begin();
  if (begun.ok()) return;
  refusals_->Add(Refusal::kOutOfDescriptors, served->connection().caller(),
                 "connection closed: " + std::string(begun.message()));
  MutexLock lock(mu_);
  connections_.erase(id);
}

void TtrpcWire::Stop(absl::Time deadline) {
  table_->Close();
  for (const Connection& connection : Connections()) connection->EndWhenIdle();
  if (WaitEnded(deadline)) return;
  for (const Connection& connection : Connections()) {
    connection->CancelAll(absl::UnavailableError("the server is stopping"));
  }
  if (WaitEnded(deadline + kLastWords)) return;
  for (const Connection& connection : Connections()) connection->EndNow();
  WaitEnded(absl::InfiniteFuture());
}

bool TtrpcWire::WaitEnded(absl::Time deadline) {
  MutexLock lock(mu_);
  return mu_.AwaitUntil(deadline, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return connections_.empty();
  });
}

std::vector<TtrpcWire::Connection> TtrpcWire::Connections() const {
  std::vector<Connection> connections;
  MutexLock lock(mu_);
  for (const auto& [id, connection] : connections_) {
    connections.push_back(connection);
  }
  return connections;
}

}  // namespace tandem::rpc

// ttrpc as a server offers it.

#ifndef TANDEM_RPC_WIRE_TTRPC_TTRPC_WIRE_H_
#define TANDEM_RPC_WIRE_TTRPC_TTRPC_WIRE_H_

#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "rpc/base/mutex.h"
#include "rpc/wire/ttrpc/method_table.h"
#include "rpc/wire/ttrpc/served_connection.h"
#include "rpc/wire/wire.h"

namespace tandem::rpc {

// Connections of ttrpc clients: Tandem's own, and those in Go and Rust, which
// do without what Tandem's agree on in Hello (TtrpcExtensions in
// session.proto).
//
// Thread safety: as Wire. Handlers run on the pool and on the poller's threads.
class TtrpcWire final : public Wire {
 public:
  std::string_view name() const override { return "ttrpc"; }
  Verdict Judge(std::string_view seen) const override;
  absl::Status Start(const WireParts& parts) override;
  void Serve(UniqueFd socket,
             std::shared_ptr<ServerConnection> connection) override
      ABSL_LOCKS_EXCLUDED(mu_);
  void Stop(absl::Time deadline) override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Connection = std::shared_ptr<ttrpc::ServedConnection>;

  // True when none is left by `deadline`.
  bool WaitEnded(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<Connection> Connections() const ABSL_LOCKS_EXCLUDED(mu_);

  std::shared_ptr<ttrpc::MethodTable> table_;
  Poller* poller_ = nullptr;
  RefusalLog* refusals_ = nullptr;

  mutable Mutex mu_;
  // Those that are not over, or have calls, by number.
  absl::flat_hash_map<std::uint64_t, Connection> connections_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_TTRPC_TTRPC_WIRE_H_

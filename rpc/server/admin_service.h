// What a server tells about itself to who runs it.

#ifndef TANDEM_RPC_SERVER_ADMIN_SERVICE_H_
#define TANDEM_RPC_SERVER_ADMIN_SERVICE_H_

#include <functional>
#include <memory>
#include <utility>

#include "rpc/server/connection_table.h"
#include "rpc/server/front_door.h"
#include "rpc/server/memory_budget.h"
#include "rpc/server/refusal_log.h"
#include "rpc/server/worker_pool.h"
#include "tandem/rpc/v1/admin.tandem.h"

namespace tandem::rpc {

// tandem.rpc.v1.Admin, which every server has.
//
// Thread safety: thread-safe.
class AdminService final : public v1::AdminHandler {
 public:
  // Where it finds what changes. All outlive the service.
  struct Sources {
    const ConnectionTable& connections;
    const RefusalLog& refusals;
    const MemoryBudget& request_memory;
    const WorkerPool& pool;
    std::function<FrontDoorCounts()> counts;
  };

  // `about` is the answer but for what changes: with all limits, in any order.
  AdminService(v1::ServerStatusReply about, Sources sources)
      : about_(std::move(about)), sources_(std::move(sources)) {}

  absl::StatusOr<v1::ServerStatusReply> ServerStatus(
      Call& call, const v1::ServerStatusRequest& request) override;

 private:
  const v1::ServerStatusReply about_;
  const Sources sources_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_ADMIN_SERVICE_H_

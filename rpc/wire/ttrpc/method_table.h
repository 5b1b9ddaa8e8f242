// What a server serves over ttrpc.

#ifndef TANDEM_RPC_WIRE_TTRPC_METHOD_TABLE_H_
#define TANDEM_RPC_WIRE_TTRPC_METHOD_TABLE_H_

#include <atomic>
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "rpc/server/call_guard.h"
#include "rpc/server/worker_pool.h"
#include "rpc/wire/method.h"
#include "rpc/wire/wire.h"

namespace tandem::rpc::ttrpc {

// A method, and what its calls need.
struct Target {
  const Method* method;
  void* handler;
  CallGuard::Method guarded;
  // Of Session: what it is asked and answers is agreed on (TtrpcExtensions).
  bool is_hello;
  std::size_t index;  // Within the table.
};

// What all connections of a server have in common.
//
// Thread safety: thread-safe. Each target stays where it is.
class MethodTable {
 public:
  explicit MethodTable(const WireParts& parts);
  MethodTable(const MethodTable&) = delete;
  MethodTable& operator=(const MethodTable&) = delete;

  // Null where there is no such method.
  const Target* Find(std::string_view service, std::string_view method) const;

  std::size_t size() const { return targets_.size(); }

  // Null where a method runs inline.
  WorkerPool* PoolFor(const Target& target) const {
    return target.method->run == Run::kInline ? nullptr : parts_.pool;
  }
  WorkerPool& pool() const { return *parts_.pool; }
  // These outlive all connections, but not what handlers keep longer.
  const CallGuard& guard() const { return *parts_.guard; }
  std::size_t max_message_bytes() const { return parts_.max_message_bytes; }
  std::size_t max_reply_bytes() const { return parts_.max_reply_bytes; }

  // From now on no call begins.
  void Close() { is_closed_.store(true, std::memory_order_relaxed); }
  bool is_closed() const { return is_closed_.load(std::memory_order_relaxed); }

 private:
  using Name = std::pair<std::string_view, std::string_view>;

  const WireParts parts_;
  std::vector<Target> targets_;
  absl::flat_hash_map<Name, const Target*> by_name_;
  std::atomic<bool> is_closed_{false};
};

}  // namespace tandem::rpc::ttrpc

#endif  // TANDEM_RPC_WIRE_TTRPC_METHOD_TABLE_H_

// Cancels calls from outside.

#ifndef TANDEM_RPC_CLIENT_CANCELLATION_H_
#define TANDEM_RPC_CLIENT_CANCELLATION_H_

#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include "rpc/base/mutex.h"

namespace tandem::rpc {

// A switch that ends every call that was given it (CallOptions::cancellation)
// with kCancelled. Thrown once; calls begun later end at once.
//
// Lifecycle: must outlive the calls that use it.
// Thread safety: thread-safe.
class Cancellation {
 public:
  void Cancel() ABSL_LOCKS_EXCLUDED(mu_);
  bool is_cancelled() const ABSL_LOCKS_EXCLUDED(mu_);

  // For transports: runs `callback` on Cancel(), at once if it was called
  // before. Returns a key for Remove(), or 0 if it has run.
  std::uint64_t Add(std::function<void()> callback) ABSL_LOCKS_EXCLUDED(mu_);
  // For transports: `key`'s callback will not begin any more and, unless this
  // is called from within it, is not running when this returns.
  void Remove(std::uint64_t key) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  mutable Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  // The callback that runs now, and where.
  std::uint64_t running_ ABSL_GUARDED_BY(mu_) = 0;
  std::thread::id running_on_ ABSL_GUARDED_BY(mu_);
  std::uint64_t next_key_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<std::uint64_t, std::function<void()>> callbacks_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_CANCELLATION_H_

// Cancels calls from outside.

#ifndef TANDEM_RPC_CLIENT_CANCELLATION_H_
#define TANDEM_RPC_CLIENT_CANCELLATION_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "rpc/base/mutex.h"

namespace tandem::rpc {

// A switch that ends every call that was given it (CallOptions::cancellation)
// with kCancelled. Thrown once; calls begun later end at once.
//
// Lifecycle: copies are the same switch. A call keeps one, so who began it may
// let go of theirs before it is over.
// Thread safety: thread-safe.
class Cancellation {
 public:
  Cancellation() : state_(std::make_shared<State>()) {}

  void Cancel();
  bool is_cancelled() const;

  // For transports: runs `callback` on Cancel(), at once if it was called
  // before. Returns a key for Remove(), or 0 if it has run.
  std::uint64_t Add(std::function<void()> callback);
  // For transports: `key`'s callback will not begin any more and, unless this
  // is called from within it, is not running when this returns.
  void Remove(std::uint64_t key);

 private:
  struct State {
    Mutex mu;
    bool cancelled ABSL_GUARDED_BY(mu) = false;
    // The callback that runs now, and where.
    std::uint64_t running ABSL_GUARDED_BY(mu) = 0;
    std::thread::id running_on ABSL_GUARDED_BY(mu);
    std::uint64_t next_key ABSL_GUARDED_BY(mu) = 1;
    std::map<std::uint64_t, std::function<void()>> callbacks
        ABSL_GUARDED_BY(mu);
  };

  std::shared_ptr<State> state_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_CANCELLATION_H_

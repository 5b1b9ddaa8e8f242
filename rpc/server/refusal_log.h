// What a server refuses, counted and logged.

#ifndef TANDEM_RPC_SERVER_REFUSAL_LOG_H_
#define TANDEM_RPC_SERVER_REFUSAL_LOG_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/server/caller.h"

namespace tandem::rpc {

// Why something was refused, or ended before its time.
enum class Refusal : std::uint8_t {
  // Connections.
  kNotAllowedToConnect,
  kTooManyConnections,
  kTooManyConnectionsOfUid,
  kOutOfDescriptors,
  kLeftEarly,          // in the middle of its first bytes
  kUnknownFirstBytes,  // no wire begins so
  kLateFirstBytes,
  kIdle,
  kTooManyCallsForNothing,  // refused, or given up by the client
  // Calls.
  kUnknownCaller,
  kNotAllowedToCall,
  kTooManyCalls,
  kTooManyQueuedCalls,
  kMessageTooLarge,  // of the client's
  kOutOfRequestMemory,
  kReplyTooLarge,  // of ours
  kSlowReader,
  kSlowWriter,
};
inline constexpr std::size_t kRefusals = 18;

// "not-allowed-to-connect".
std::string_view RefusalName(Refusal reason);

// Counts refusals, and writes a line to the log for each, with who and what:
// at most one per reason and second, so that no reason hides another. What a
// line does not tell the next one counts, or, when a second passes without a
// next one, a line of its own.
//
// Who is told by numbers: names may be asked of the network.
//
// Thread safety: thread-safe.
class RefusalLog {
 public:
  // `address` is the server's, for the log.
  explicit RefusalLog(std::string address) : address_(std::move(address)) {}
  RefusalLog(const RefusalLog&) = delete;
  RefusalLog& operator=(const RefusalLog&) = delete;

  // `what` says what happened to `caller`, with the rule or limit: "connection
  // closed: the server allows uid 0".
  void Add(Refusal reason, const Caller& caller, std::string_view what)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Logs what is due. To be called now and then, until has_unlogged() is false.
  void Flush() ABSL_LOCKS_EXCLUDED(mu_);
  bool has_unlogged() const ABSL_LOCKS_EXCLUDED(mu_);

  const std::string& address() const { return address_; }

  std::uint64_t count(Refusal reason) const {
    return counts_[static_cast<std::size_t>(reason)].load(
        std::memory_order_relaxed);
  }

 private:
  struct Line {
    absl::Time next = absl::InfinitePast();
    std::uint64_t unlogged = 0;
  };

  const std::string address_;
  std::atomic<std::uint64_t> counts_[kRefusals] = {};
  mutable Mutex mu_;
  Line lines_[kRefusals] ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_REFUSAL_LOG_H_

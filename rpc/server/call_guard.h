// What stands before every call, whatever the wire.

#ifndef TANDEM_RPC_SERVER_CALL_GUARD_H_
#define TANDEM_RPC_SERVER_CALL_GUARD_H_

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/server/access_policy.h"
#include "rpc/server/refusal_log.h"
#include "rpc/server/server_connection.h"

namespace tandem::rpc {

// Decides whether a call may begin, before anything of its request is parsed,
// and counts it. One per server; a wire asks it once per method (For) and once
// per call (Begin).
//
// For who may call, it allocates nothing and takes no lock.
//
// Thread safety: thread-safe.
class CallGuard {
 public:
  // A method, with the rule that decides about it. Names are borrowed.
  struct Method {
    std::string_view service;  // "kv.v1.Store"
    std::string_view name;     // "Put"
    const AccessPolicy::Rule* rule;
  };

  // Both outlive the guard.
  CallGuard(const AccessPolicy& policy, int max_calls_per_connection,
            RefusalLog& refusals)
      : policy_(policy),
        max_calls_per_connection_(max_calls_per_connection),
        max_charged_at_once_(std::min(max_calls_per_connection, kMostCalls) +
                             kChargedBeside),
        refusals_(refusals) {}
  CallGuard(const CallGuard&) = delete;
  CallGuard& operator=(const CallGuard&) = delete;

  Method For(std::string_view service, std::string_view name) const {
    return {service, name, policy_.RuleFor(service, name)};
  }

  // `connection` is the one that the call came on; null where nobody knows it.
  // Errors, which are counted and logged here:
  //   kPermissionDenied   the policy says no, or nobody knows the caller
  //   kResourceExhausted  too many calls in flight on this connection
  //   kCancelled          the connection was ended; not counted
  absl::StatusOr<ActiveCall> Begin(std::shared_ptr<ServerConnection> connection,
                                   const Method& method) const;

  // Counts a request, or a message of a stream, of `bytes` that `call` has in
  // memory from now on (in place of the one before). Errors, counted and
  // logged: kResourceExhausted, when too much is held for requests already.
  absl::Status Hold(ActiveCall& call, std::size_t bytes,
                    const Method& method) const;

  // Counts and logs what was found out about a call that had begun, and returns
  // `why`.
  //
  // Who has too many calls refused, here or above, loses the connection: as
  // many as may be in flight, and a thousand more, and then a thousand a
  // second. Not counted among these are answers that are too large.
  absl::Status Refuse(Refusal reason, ServerConnection& connection,
                      absl::Status why) const;

  // The client gave up a call before it was answered, which counts as much as
  // one that is refused.
  void CountGivenUp(ServerConnection& connection, const Method& method) const;

  // The client of `call` did not take its answer, and the call was ended.
  void CountStalled(const ServerConnection& connection,
                    const Method& method) const;
  // The client of `call` let its handler wait, and the call was ended.
  void CountSilent(const ServerConnection& connection,
                   const Method& method) const;

 private:
  static constexpr int kChargedBeside = 1000;
  static constexpr int kMostCalls =
      std::numeric_limits<int>::max() - kChargedBeside;

  void Charge(ServerConnection& connection, std::string_view last) const;

  const AccessPolicy& policy_;
  const int max_calls_per_connection_;
  const int max_charged_at_once_;
  RefusalLog& refusals_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_CALL_GUARD_H_

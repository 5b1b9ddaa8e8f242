// What the application was asked and has not answered.

#ifndef TANDEM_NODE_CALLS_IN_FLIGHT_H_
#define TANDEM_NODE_CALLS_IN_FLIGHT_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "google/protobuf/repeated_ptr_field.h"
#include "tandem/node/v1/node.pb.h"

namespace tandem::node {

// Counts the calls in flight on one connection, by method, and keeps since when
// each method waits: since its last answer, or since the first of the calls in
// flight when there has been none. Two reads of a clock and some relaxed
// atomics for a call.
//
// Thread safety: thread-safe.
class CallsInFlight {
 public:
  enum Method {
    kInfo,
    kInitChain,
    kPrepareProposal,
    kProcessProposal,
    kFinalizeBlock,
    kCommit,
    kCheckTx,
    kQuery,
    kMethods,  // how many
  };

  // As the contract names it.
  static std::string_view NameOf(Method method);

  void Begin(Method method);
  void End(Method method);

  // One for each method that has calls in flight.
  google::protobuf::RepeatedPtrField<v1::AppCalls> Get() const;

 private:
  struct Lane {
    std::atomic<std::uint32_t> count{0};
    std::atomic<std::int64_t> since_unix_nanos{0};
  };
  std::array<Lane, kMethods> lanes_;
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CALLS_IN_FLIGHT_H_

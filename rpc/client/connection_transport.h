// Carries calls over one connection, which it never renews.

#ifndef TANDEM_RPC_CLIENT_CONNECTION_TRANSPORT_H_
#define TANDEM_RPC_CLIENT_CONNECTION_TRANSPORT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/client/transport.h"
#include "tandem/rpc/v1/session.pb.h"

namespace tandem::rpc {

// How a client's calls travel.
enum class ClientWire : std::uint8_t { kTtrpc, kGrpc };

// What every wire's client side is: a Channel makes one of these for each
// connection. CallOptions::wait_for_ready has no meaning here, since it is
// ready or over.
//
// Lifecycle: destroying it closes the connection.
//
// Errors: those of Transport, and kFailedPrecondition for a reply that does not
// fit this program's .proto (a field of another type). Calls on a connection
// that is over end with kUnavailable.
//
// Thread safety: thread-safe.
class ConnectionTransport : public Transport {
 public:
  // True once either side has closed the connection; asks the kernel where
  // nobody reads from it just now.
  virtual bool is_over() const = 0;
  // Waits until is_over() or for `timeout`; returns is_over().
  virtual bool WaitOver(absl::Duration timeout) const = 0;

  // True once a call ended with kUnavailable. A server that is stopping refuses
  // new calls before it closes the connection, so it is time for another
  // connection then; calls in flight on this one may still be answered.
  virtual bool is_refused() const = 0;

  // True while calls are in flight.
  virtual bool has_calls() const = 0;

  // Ends the connection: calls in flight end with kUnavailable. Idempotent.
  virtual void Close() = 0;

  // Says in `hello`, which is then said, what this end of the wire offers.
  virtual void Offer(v1::HelloRequest& hello) const = 0;
  // Tells what the server said to it: what it was built from, so that errors
  // can say whether that was another .proto, and what it takes up.
  virtual void set_hello(const absl::StatusOr<v1::HelloReply>& hello) = 0;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_CONNECTION_TRANSPORT_H_

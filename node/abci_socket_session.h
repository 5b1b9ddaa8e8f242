// A session with an application over the ABCI socket protocol.

#ifndef TANDEM_NODE_ABCI_SOCKET_SESSION_H_
#define TANDEM_NODE_ABCI_SOCKET_SESSION_H_

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/client/session.h"
#include "rpc/socket/unix_address.h"

namespace tandem::node {

struct AbciSocketOptions {
  // As in rpc::ChannelOptions.
  uid_t server_uid = 0;
  std::string allow_shared_directory = {};
  // Larger answers end the session.
  std::size_t max_message_bytes = 64 << 20;
};

// Connects to the application at `address`, which is verified as rpc::Channel
// does, and returns a session whose calls are those of the service ABCI.
//
// The protocol answers the calls of a connection in their order, so there is a
// connection for each lane, as engines have: consensus calls (and Info),
// transactions (CheckTx), and queries. The session is over once one of them is.
// On a connection any number of calls may be in flight; what is written
// together is sent together, and a Flush follows it, without which CometBFT's
// own server answers nothing.
//
// It has no Hello: hello() is kUnimplemented. Calls that stream and those of
// other services end with kUnimplemented.
//
// Errors of calls, besides those of rpc::Transport:
//   kFailedPrecondition  the application answered with an Exception, after
//                        which many close the connection. One that is built on
//                        Tandem says which error it was, and it is that one.
//   kUnavailable         besides the end of the connection: what was answered
//                        is not what was asked; which ends it
//
// A call whose time is over ends with kDeadlineExceeded; its answer is dropped
// when it comes, and those behind it wait for that.
//
// Callbacks run on a thread of the session's own.
//
// Errors: those of rpc::Dial().
absl::StatusOr<std::unique_ptr<rpc::Session>> OpenAbciSocketSession(
    const rpc::UnixAddress& address, const AbciSocketOptions& options,
    absl::Duration timeout);

}  // namespace tandem::node

#endif  // TANDEM_NODE_ABCI_SOCKET_SESSION_H_

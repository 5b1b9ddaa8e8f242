// A channel over the one connection that somebody else made for it.

#ifndef TANDEM_RPC_CLIENT_HANDED_IN_CHANNEL_H_
#define TANDEM_RPC_CLIENT_HANDED_IN_CHANNEL_H_

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "rpc/client/channel.h"

namespace tandem::rpc {

// Channel::Connect() for "fd:3". Takes the descriptor over, and verifies who is
// at the other end: of a socketpair(2), who made it. Nothing is sent before the
// first call.
//
// There is no other connection to be had: once it has ended, calls end with
// kUnavailable at once, even those that wait_for_ready. Sessions are all this
// one connection, and end with the channel.
//
// Errors: those of TakeHandedInSocket(); kFailedPrecondition when it listens,
// and it stays open; kPermissionDenied when the other end is of another uid
// than `options.server_uid`, and the connection is closed then.
absl::StatusOr<std::unique_ptr<Channel>> ConnectHandedIn(
    std::string_view address, const ChannelOptions& options);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_HANDED_IN_CHANNEL_H_

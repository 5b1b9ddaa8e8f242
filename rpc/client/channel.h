// A client's way to one server, across the server's restarts.

#ifndef TANDEM_RPC_CLIENT_CHANNEL_H_
#define TANDEM_RPC_CLIENT_CHANNEL_H_

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/client/connection_transport.h"
#include "rpc/client/session.h"
#include "rpc/client/transport.h"
#include "rpc/server/access_policy.h"
#include "rpc/server/caller.h"
#include "rpc/wire/method.h"

namespace tandem::rpc {

struct ChannelOptions {
  // The uid that the server must run as, as the kernel knows it (the effective
  // uid of who called listen(2)); a server of another uid is sent nothing.
  // Unset: our own effective uid.
  std::optional<uid_t> server_uid = std::nullopt;
  // Why others are trusted who could put another socket in the server's place
  // (Dial()): then only the server's uid is checked. Empty: they are not, and a
  // socket at such a place is sent nothing.
  std::string allow_shared_directory = {};
  // Messages larger than this fail the call with kResourceExhausted.
  std::size_t max_message_bytes = 64 << 20;
  // ttrpc is many times faster. gRPC is for servers that are not Tandem's; one
  // that does not speak the wire ends calls with kUnavailable, and the message
  // says so.
  ClientWire wire = ClientWire::kTtrpc;
  // Over ttrpc: how long who waits for an answer asks the socket over and over
  // before it sleeps. An answer within that time comes without a wake-up, at
  // the price of a busy core meanwhile: 50 us pays where cores are idle.
  absl::Duration spin = absl::ZeroDuration();
};

struct InProcessOptions {
  // Workers for methods that run on the pool; 0: they run on the caller's
  // thread, as inline methods do.
  int workers = 4;
  // Messages larger than this fail the call with kResourceExhausted.
  std::size_t max_message_bytes = 64 << 20;
  // Who may connect and call what, with the answers that a server with this
  // policy gives, so that a program's policy can be tried without a socket.
  // Rules for what is not served here are not looked at.
  AccessPolicy access = AccessPolicy().Allow(AllowList::Everybody());
  // Who calls: uid, gid, groups (with the gid) and pid. Unset: this process.
  std::optional<Caller> caller = std::nullopt;
};

// Carries calls to the server at an address. Connects when a call needs it,
// verifies the server and the way to it before the first byte of each
// connection, says Hello,
// and connects again after a restart. No call waits for the answer to Hello,
// but for those that wait_for_ready.
//
// A unary call that waits for a server blocks no thread; opening a stream with
// wait_for_ready does, until there is a server: without a timeout, for at most
// kDefaultCallTimeout.
//
// Errors: see Transport.
// Thread safety: thread-safe. Outlives the clients that use it.
class Channel : public Transport {
 public:
  // Does not connect yet, so the server may start later.
  // Errors: kInvalidArgument when `address` is not a unix address.
  //
  // "fd:3": a connection that is handed in, which this takes over; there is no
  // other, so a restart of the server is the end
  // (rpc/client/handed_in_channel.h, also for its errors).
  static absl::StatusOr<std::unique_ptr<Channel>> Connect(
      std::string_view address, ChannelOptions options = {});

  // Calls handlers in this process, with the same deadlines, cancellation and
  // errors as across processes. The handlers must outlive the channel. Each
  // session has workers of its own.
  static std::unique_ptr<Channel> InProcess(std::vector<Served> services,
                                            InProcessOptions options = {});

  // Waits until a server has answered Hello (or said that it does not know it).
  // Errors: kDeadlineExceeded, with the reason of the last attempt;
  // kPermissionDenied when the server runs as another uid.
  absl::Status WaitForConnected(absl::Duration timeout);

  // Connects, says Hello, and returns a connection of the caller's own.
  // Errors: kUnavailable when no server answers (no waiting for one);
  // kPermissionDenied; kDeadlineExceeded when Hello is not answered in time.
  virtual absl::StatusOr<std::unique_ptr<Session>> OpenSession(
      absl::Duration timeout) = 0;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_CHANNEL_H_

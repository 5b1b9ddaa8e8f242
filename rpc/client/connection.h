// One verified connection to a server, with Hello said on it.

#ifndef TANDEM_RPC_CLIENT_CONNECTION_H_
#define TANDEM_RPC_CLIENT_CONNECTION_H_

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/base/unique_fd.h"
#include "rpc/client/connection_transport.h"
#include "rpc/socket/unix_address.h"
#include "tandem/rpc/v1/session.pb.h"

namespace tandem::rpc {

struct ConnectionOptions {
  uid_t server_uid;
  // As in ChannelOptions.
  std::string allow_shared_directory;
  std::size_t max_message_bytes;
  ClientWire wire;
  absl::Duration spin;
  // What Hello says, but for what the wire has to say.
  v1::HelloRequest hello;
};

// Calls need not wait for the answer to Hello, which is on its way as the first
// call when Open() returns.
//
// Ownership: shared by the channel or session, and by whoever begins a call on
// it just now. Thread safety: thread-safe.
class Connection {
 public:
  // Errors: those of Dial() with this deadline; kResourceExhausted.
  static absl::StatusOr<std::shared_ptr<Connection>> Open(
      const UnixAddress& address, const ConnectionOptions& options,
      absl::Time deadline);

  // On a connected socket whose other end is verified; `server` is what errors
  // call it. Errors: kResourceExhausted.
  static absl::StatusOr<std::shared_ptr<Connection>> Begin(
      UniqueFd fd, std::string server, const ConnectionOptions& options);

  ConnectionTransport& transport() { return *transport_; }

  // As Session's.
  pid_t server_pid() const { return server_pid_; }

  // Waits for the answer to Hello; null when there is none by `deadline`. An
  // error says why Hello failed: kUnimplemented, the server is not Tandem's;
  // kUnavailable or kDeadlineExceeded, it did not answer.
  const absl::StatusOr<v1::HelloReply>* WaitForHello(absl::Time deadline)
      ABSL_LOCKS_EXCLUDED(mu_);

  // True once the server has said anything to Hello, even that it does not know
  // it: so it let us in.
  bool is_answered() const { return answer_ == Answer::kAnswered; }

  // True once Hello has ended without an answer: whether the server ever says
  // anything on this connection is unknown.
  bool has_failed() const { return answer_ == Answer::kFailed; }

 private:
  enum class Answer : std::uint8_t { kNone, kAnswered, kFailed };

  Connection(std::unique_ptr<ConnectionTransport> transport, pid_t server_pid)
      : transport_(std::move(transport)), server_pid_(server_pid) {}

  void SetHello(absl::StatusOr<v1::HelloReply> hello) ABSL_LOCKS_EXCLUDED(mu_);

  const std::unique_ptr<ConnectionTransport> transport_;
  const pid_t server_pid_;
  std::atomic<Answer> answer_{Answer::kNone};

  Mutex mu_;
  // Constant once set.
  std::optional<absl::StatusOr<v1::HelloReply>> hello_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_CONNECTION_H_

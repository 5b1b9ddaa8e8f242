// A session on a connection to a server.

#ifndef TANDEM_RPC_CLIENT_SOCKET_SESSION_H_
#define TANDEM_RPC_CLIENT_SOCKET_SESSION_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "rpc/client/connection.h"
#include "rpc/client/session.h"

namespace tandem::rpc {

// Thread safety: thread-safe.
class SocketSession final : public Session {
 public:
  // Hello is answered.
  SocketSession(std::shared_ptr<Connection> connection,
                absl::StatusOr<v1::HelloReply> hello)
      : connection_(std::move(connection)), hello_(std::move(hello)) {}

  void Start(ClientCall* call, const google::protobuf::MessageLite& request,
             const CallOptions& options) override {
    connection_->transport().Start(call, request, options);
  }
  std::shared_ptr<ClientStream> Open(
      const Method& method, const google::protobuf::MessageLite* request,
      const CallOptions& options) override {
    return connection_->transport().Open(method, request, options);
  }
  const absl::StatusOr<v1::HelloReply>& hello() const override {
    return hello_;
  }
  pid_t server_pid() const override { return connection_->server_pid(); }
  bool is_over() const override { return connection_->transport().is_over(); }
  bool WaitOver(absl::Duration timeout) const override {
    return connection_->transport().WaitOver(timeout);
  }
  void Close() override { connection_->transport().Close(); }

 private:
  const std::shared_ptr<Connection> connection_;
  const absl::StatusOr<v1::HelloReply> hello_;
};

// A session on a connection, once its server has answered Hello, by `deadline`.
// Errors call the server `where`, and the time that it had `timeout`; they are
// those of Channel::OpenSession().
inline absl::StatusOr<std::unique_ptr<Session>> SessionOn(
    std::shared_ptr<Connection> connection, std::string_view where,
    absl::Time deadline, absl::Duration timeout) {
  const absl::StatusOr<v1::HelloReply>* hello =
      connection->WaitForHello(deadline);
  if (hello == nullptr) {
    return absl::DeadlineExceededError(absl::StrCat(
        "the server at ", std::string(where), " did not answer Hello within ",
        absl::FormatDuration(timeout)));
  }
  if (!connection->is_answered()) return hello->status();
  return std::make_unique<SocketSession>(std::move(connection), *hello);
}

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_SOCKET_SESSION_H_

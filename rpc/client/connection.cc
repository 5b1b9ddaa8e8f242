#include "rpc/client/connection.h"

#include <utility>

#include "absl/status/status.h"
#include "rpc/base/status_macros.h"
#include "rpc/socket/dial.h"
#include "rpc/socket/peer_credentials.h"
#include "rpc/wire/grpc/grpc_transport.h"
#include "rpc/wire/ttrpc/ttrpc_transport.h"
#include "tandem/rpc/v1/session.tandem.h"

namespace tandem::rpc {
namespace {

absl::StatusOr<std::unique_ptr<ConnectionTransport>> NewTransport(
    UniqueFd fd, std::string server, const ConnectionOptions& options) {
  if (options.wire == ClientWire::kGrpc) {
    return GrpcTransport::Create(
        std::move(fd), {.peer = std::move(server),
                        .max_message_bytes = options.max_message_bytes});
  }
  return TtrpcTransport::Create(std::move(fd),
                                {.peer = std::move(server),
                                 .max_message_bytes = options.max_message_bytes,
                                 .spin = options.spin});
}

}  // namespace

absl::StatusOr<std::shared_ptr<Connection>> Connection::Open(
    const UnixAddress& address, const ConnectionOptions& options,
    absl::Time deadline) {
  TANDEM_ASSIGN_OR_RETURN(UniqueFd fd,
                          Dial(address, options.server_uid, deadline,
                               options.allow_shared_directory));
  return Begin(std::move(fd), address.ToString(), options);
}

absl::StatusOr<std::shared_ptr<Connection>> Connection::Begin(
    UniqueFd fd, std::string server, const ConnectionOptions& options) {
  const absl::StatusOr<PeerCredentials> peer = PeerCredentialsOf(fd.get());
  TANDEM_ASSIGN_OR_RETURN(
      std::unique_ptr<ConnectionTransport> transport,
      NewTransport(std::move(fd), std::move(server), options));
  auto connection = std::shared_ptr<Connection>(
      new Connection(std::move(transport), peer.ok() ? peer->pid : 0));
  v1::HelloRequest hello = options.hello;
  connection->transport().Offer(hello);
  // The answer may come when nobody wants the connection any more.
  v1::SessionClient(connection->transport())
      .Hello(hello, {},
             [weak = std::weak_ptr<Connection>(connection)](
                 absl::StatusOr<v1::HelloReply> reply) {
               if (const auto self = weak.lock()) {
                 self->SetHello(std::move(reply));
               }
             });
  return connection;
}

const absl::StatusOr<v1::HelloReply>* Connection::WaitForHello(
    absl::Time deadline) {
  MutexLock lock(mu_);
  const bool answered =
      mu_.AwaitUntil(deadline, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
        return hello_.has_value();
      });
  return answered ? &*hello_ : nullptr;
}

void Connection::SetHello(absl::StatusOr<v1::HelloReply> hello) {
  transport_->set_hello(hello);
  MutexLock lock(mu_);
  answer_ = absl::IsUnavailable(hello.status()) ||
                    absl::IsDeadlineExceeded(hello.status())
                ? Answer::kFailed
                : Answer::kAnswered;
  hello_ = std::move(hello);
  mu_.NotifyAll();
}

}  // namespace tandem::rpc

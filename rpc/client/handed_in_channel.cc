#include "rpc/client/handed_in_channel.h"

#include <unistd.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rpc/base/mutex.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unique_fd.h"
#include "rpc/base/version.h"
#include "rpc/client/connection.h"
#include "rpc/client/failed_stream.h"
#include "rpc/client/socket_session.h"
#include "rpc/socket/dial.h"
#include "rpc/socket/handed_in_socket.h"

namespace tandem::rpc {
namespace {

using google::protobuf::MessageLite;

class HandedInChannel final : public Channel {
 public:
  HandedInChannel(HandedInSocket socket, ConnectionOptions options)
      : address_(std::move(socket.address)),
        options_(std::move(options)),
        fd_(std::move(socket.fd)) {}
  ~HandedInChannel() override ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    if (connection_ != nullptr) connection_->transport().Close();
  }

  void Start(ClientCall* call, const MessageLite& request,
             const CallOptions& options) override {
    const ConnectionOr connection = Connected();
    if (connection.ok()) {
      return (*connection)->transport().Start(call, request, options);
    }
    call->status = Named(*call->method, connection.status());
    call->done(call);
  }
  std::shared_ptr<ClientStream> Open(const Method& method,
                                     const MessageLite* request,
                                     const CallOptions& options) override {
    const ConnectionOr connection = Connected();
    if (connection.ok()) {
      return (*connection)->transport().Open(method, request, options);
    }
    return FailedStream(Named(method, connection.status()));
  }
  absl::StatusOr<std::unique_ptr<Session>> OpenSession(
      absl::Duration timeout) override {
    TANDEM_ASSIGN_OR_RETURN(std::shared_ptr<Connection> connection,
                            Connected());
    return SessionOn(std::move(connection), address_, absl::Now() + timeout,
                     timeout);
  }

 private:
  using ConnectionOr = absl::StatusOr<std::shared_ptr<Connection>>;

  // The connection, as long as there is one.
  ConnectionOr Connected() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    if (connection_ == nullptr && fd_.is_valid()) {
      TANDEM_ASSIGN_OR_RETURN(
          connection_, Connection::Begin(std::move(fd_), address_, options_));
    }
    if (connection_ != nullptr && !connection_->transport().is_over()) {
      return connection_;
    }
    return absl::UnavailableError(absl::StrCat(
        "the connection ", address_,
        " has ended; it was handed in, so there is no way to another: whoever "
        "started this process has to start it anew"));
  }

  const std::string address_;
  const ConnectionOptions options_;

  // Outer to the locks of the connection.
  Mutex mu_;
  // Until the first call.
  UniqueFd fd_ ABSL_GUARDED_BY(mu_);
  // From then on.
  std::shared_ptr<Connection> connection_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<Channel>> ConnectHandedIn(
    std::string_view address, const ChannelOptions& options) {
  const uid_t server_uid = options.server_uid.value_or(::geteuid());
  TANDEM_ASSIGN_OR_RETURN(HandedInSocket socket, TakeHandedInSocket(address));
  if (socket.is_listening) {
    // It stays open for whoever it is for.
    [[maybe_unused]] const int fd = socket.fd.Release();
    return absl::FailedPreconditionError(
        absl::StrCat("the socket ", std::string(address),
                     " listens: that is for a server; a client needs one that "
                     "is connected"));
  }
  TANDEM_RETURN_IF_ERROR(
      CheckServer(socket.fd.get(), server_uid, socket.address));
  ConnectionOptions of_connection{
      .server_uid = server_uid,
      .allow_shared_directory = options.allow_shared_directory,
      .max_message_bytes = options.max_message_bytes,
      .wire = options.wire,
      .spin = options.spin,
      .hello = {}};
  of_connection.hello.set_framework_version(std::string(FrameworkVersion()));
  return std::make_unique<HandedInChannel>(std::move(socket),
                                           std::move(of_connection));
}

}  // namespace tandem::rpc

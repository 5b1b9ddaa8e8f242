#include "rpc/client/channel.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rpc/base/mutex.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/version.h"
#include "rpc/client/backoff.h"
#include "rpc/client/connection.h"
#include "rpc/client/failed_stream.h"
#include "rpc/client/handed_in_channel.h"
#include "rpc/client/socket_session.h"
#include "rpc/client/waiting_calls.h"
#include "rpc/socket/unix_address.h"

namespace tandem::rpc {
namespace {

using google::protobuf::MessageLite;

class SocketChannel final : public Channel {
 public:
  SocketChannel(const UnixAddress& address, const ChannelOptions& options)
      : address_(address),
        server_uid_(options.server_uid.value_or(::geteuid())),
        allow_shared_directory_(options.allow_shared_directory),
        max_message_bytes_(options.max_message_bytes),
        wire_(options.wire),
        spin_(options.spin),
        waiting_([this](const Method& method, absl::Time deadline) {
          return AnsweredConnection(method, deadline);
        }) {}
  ~SocketChannel() override;

  void Start(ClientCall* call, const MessageLite& request,
             const CallOptions& options) override ABSL_LOCKS_EXCLUDED(mu_);
  std::shared_ptr<ClientStream> Open(const Method& method,
                                     const MessageLite* request,
                                     const CallOptions& options) override
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::unique_ptr<Session>> OpenSession(
      absl::Duration timeout) override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using ConnectionOr = absl::StatusOr<std::shared_ptr<Connection>>;

  // The connection for the next call: the one there is, or a new one. Does not
  // wait. `method` is what it is for.
  ConnectionOr Connected(const Method& method) ABSL_LOCKS_EXCLUDED(mu_);
  // The same, once its server has answered Hello; kUnavailable when it has not
  // by `deadline`.
  ConnectionOr AnsweredConnection(const Method& method, absl::Time deadline)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The same, tried again until `deadline` while there is no server.
  ConnectionOr WaitForConnection(const Method& method,
                                 const CallOptions& options)
      ABSL_LOCKS_EXCLUDED(mu_);

  ConnectionOr Connect(const Method& method) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Puts the connection there is aside when it takes no more calls.
  void Retire() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Moves out what nobody needs, for the caller to destroy without the lock.
  std::vector<std::shared_ptr<Connection>> TakeUnneeded()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ConnectionOptions OptionsOfConnection() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const UnixAddress address_;
  const uid_t server_uid_;
  const std::string allow_shared_directory_;
  const std::size_t max_message_bytes_;
  const ClientWire wire_;
  const absl::Duration spin_;

  // Held while a connection is made, which is a matter of microseconds: so that
  // many calls at once make one. Never while anybody is waited for. Outer to
  // the locks of connections.
  Mutex mu_;
  bool is_closing_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<Connection> current_ ABSL_GUARDED_BY(mu_);
  // That take no more calls, but have some in flight.
  std::vector<std::shared_ptr<Connection>> retired_ ABSL_GUARDED_BY(mu_);
  // The services used so far, for Hello.
  std::map<std::string, std::string, std::less<>> services_
      ABSL_GUARDED_BY(mu_);
  // A server that closes on us without an answer is left alone for a while.
  Backoff backoff_ ABSL_GUARDED_BY(mu_);
  absl::Time not_before_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();

  // Last: its thread uses the above.
  WaitingCalls waiting_;
};

SocketChannel::~SocketChannel() {
  MutexLock lock(mu_);
  is_closing_ = true;
  // Ends the wait of waiting_'s thread for an answer.
  if (current_ != nullptr) current_->transport().Close();
}

void SocketChannel::Start(ClientCall* call, const MessageLite& request,
                          const CallOptions& options) {
  const ConnectionOr connection = Connected(*call->method);
  if (options.wait_for_ready &&
      (connection.ok() ? !(*connection)->is_answered()
                       : absl::IsUnavailable(connection.status()))) {
    return waiting_.Add(call, request, options);
  }
  if (connection.ok()) {
    return (*connection)->transport().Start(call, request, options);
  }
  call->status = Named(*call->method, connection.status());
  call->done(call);
}

std::shared_ptr<ClientStream> SocketChannel::Open(const Method& method,
                                                  const MessageLite* request,
                                                  const CallOptions& options) {
  const ConnectionOr connection = options.wait_for_ready
                                      ? WaitForConnection(method, options)
                                      : Connected(method);
  if (!connection.ok()) return FailedStream(Named(method, connection.status()));
  return (*connection)->transport().Open(method, request, options);
}

absl::StatusOr<std::unique_ptr<Session>> SocketChannel::OpenSession(
    absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  ConnectionOptions options;
  {
    MutexLock lock(mu_);
    options = OptionsOfConnection();
  }
  TANDEM_ASSIGN_OR_RETURN(std::shared_ptr<Connection> connection,
                          Connection::Open(address_, options, deadline));
  TANDEM_ASSIGN_OR_RETURN(
      std::unique_ptr<Session> session,
      SessionOn(std::move(connection), address_.path(), deadline, timeout));
  {
    // The server lets us in: calls need not leave it alone any longer.
    MutexLock lock(mu_);
    backoff_.Reset();
    not_before_ = absl::InfinitePast();
  }
  return session;
}

SocketChannel::ConnectionOr SocketChannel::Connected(const Method& method) {
  std::vector<std::shared_ptr<Connection>> unneeded;
  MutexLock lock(mu_);
  Retire();
  unneeded = TakeUnneeded();
  if (current_ == nullptr) {
    TANDEM_ASSIGN_OR_RETURN(current_, Connect(method));
  }
  return current_;
}

void SocketChannel::Retire() {
  if (current_ == nullptr) return;
  const bool is_over = current_->transport().is_over();
  if (!is_over && !current_->transport().is_refused() &&
      !current_->has_failed()) {
    return;
  }
  if (current_->is_answered()) {
    backoff_.Reset();
  } else if (is_over) {
    not_before_ = absl::Now() + backoff_.Next();
  }
  retired_.push_back(std::move(current_));
}

std::vector<std::shared_ptr<Connection>> SocketChannel::TakeUnneeded() {
  // One reference: no thread is about to begin a call on it.
  const auto first = std::partition(
      retired_.begin(), retired_.end(), [](const auto& connection) {
        return connection.use_count() > 1 ||
               connection->transport().has_calls();
      });
  std::vector<std::shared_ptr<Connection>> unneeded(
      std::make_move_iterator(first), std::make_move_iterator(retired_.end()));
  retired_.erase(first, retired_.end());
  return unneeded;
}

SocketChannel::ConnectionOr SocketChannel::Connect(const Method& method) {
  if (is_closing_) return absl::CancelledError("the channel is destroyed");
  if (absl::Now() < not_before_) {
    return absl::UnavailableError(absl::StrCat(
        "the server at ", address_.path(),
        " closed our last connection without an answer: it is stopping, or "
        "uid ",
        ::geteuid(),
        " is not let in, or there are too many connections, or it does not "
        "speak ",
        wire_ == ClientWire::kGrpc ? "gRPC" : "ttrpc"));
  }
  services_.try_emplace(std::string(method.service), method.fingerprint);
  return Connection::Open(address_, OptionsOfConnection(),
                          absl::InfinitePast());
}

ConnectionOptions SocketChannel::OptionsOfConnection() {
  ConnectionOptions options{.server_uid = server_uid_,
                            .allow_shared_directory = allow_shared_directory_,
                            .max_message_bytes = max_message_bytes_,
                            .wire = wire_,
                            .spin = spin_,
                            .hello = {}};
  options.hello.set_framework_version(std::string(FrameworkVersion()));
  for (const auto& [name, fingerprint] : services_) {
    v1::ServiceSchema& schema = *options.hello.add_services();
    schema.set_name(name);
    schema.set_fingerprint(fingerprint);
  }
  return options;
}

SocketChannel::ConnectionOr SocketChannel::AnsweredConnection(
    const Method& method, absl::Time deadline) {
  TANDEM_ASSIGN_OR_RETURN(std::shared_ptr<Connection> connection,
                          Connected(method));
  connection->WaitForHello(deadline);
  if (connection->is_answered()) return connection;
  return absl::UnavailableError(
      absl::StrCat("the server at ", address_.path(), " does not answer"));
}

SocketChannel::ConnectionOr SocketChannel::WaitForConnection(
    const Method& method, const CallOptions& options) {
  const absl::Time deadline =
      absl::Now() + options.timeout.value_or(kDefaultCallTimeout);
  Backoff backoff;
  while (true) {
    ConnectionOr connection = AnsweredConnection(method, deadline);
    if (!absl::IsUnavailable(connection.status())) return connection;
    if (options.cancellation && options.cancellation->is_cancelled()) {
      return absl::CancelledError("cancelled while it waited for a server");
    }
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return connection;
    absl::SleepFor(std::min(backoff.Next(), left));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Channel>> Channel::Connect(
    std::string_view address, ChannelOptions options) {
  if (address.starts_with("fd:")) return ConnectHandedIn(address, options);
  TANDEM_ASSIGN_OR_RETURN(const UnixAddress parsed,
                          UnixAddress::Parse(address));
  return std::make_unique<SocketChannel>(parsed, options);
}

absl::Status Channel::WaitForConnected(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  Backoff backoff;
  while (true) {
    const absl::Status status = OpenSession(deadline - absl::Now()).status();
    if (status.ok() || absl::IsPermissionDenied(status)) return status;
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat("not connected within ", absl::FormatDuration(timeout),
                       ": ", std::string(status.message())));
    }
    absl::SleepFor(std::min(backoff.Next(), left));
  }
}

}  // namespace tandem::rpc

#include "rpc/wire/ttrpc/ttrpc_transport.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>

#include <thread>
#include <utility>

namespace tandem::rpc {

using google::protobuf::MessageLite;

absl::StatusOr<std::unique_ptr<TtrpcTransport>> TtrpcTransport::Create(
    UniqueFd connection, ttrpc::ClientOptions options) {
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  // Callers block in recv(2).
  const int flags = ::fcntl(connection.get(), F_GETFL);
  if (!wake.is_valid() || flags < 0 ||
      ::fcntl(connection.get(), F_SETFL, flags & ~O_NONBLOCK) < 0) {
    return absl::ErrnoToStatus(errno, options.peer);
  }
  return std::unique_ptr<TtrpcTransport>(
      new TtrpcTransport(std::make_shared<ttrpc::ClientConnection>(
          std::move(connection), std::move(wake), std::move(options))));
}

TtrpcTransport::TtrpcTransport(
    std::shared_ptr<ttrpc::ClientConnection> connection)
    : connection_(std::move(connection)) {
  std::thread([shared = connection_] { shared->Run(); }).detach();
}

TtrpcTransport::~TtrpcTransport() { Close(); }

void TtrpcTransport::Start(ClientCall* call, const MessageLite& request,
                           const CallOptions& options) {
  connection_->Start(call, request, options);
}

std::shared_ptr<ClientStream> TtrpcTransport::Open(const Method& method,
                                                   const MessageLite* request,
                                                   const CallOptions& options) {
  return connection_->Open(method, request, options);
}

bool TtrpcTransport::is_over() const { return connection_->is_over(); }

bool TtrpcTransport::WaitOver(absl::Duration timeout) const {
  return connection_->WaitOver(timeout);
}

bool TtrpcTransport::is_refused() const { return connection_->is_refused(); }

bool TtrpcTransport::has_calls() const { return connection_->has_calls(); }

void TtrpcTransport::Close() { connection_->Close(); }

void TtrpcTransport::Offer(v1::HelloRequest& hello) const {
  connection_->Offer(hello);
}

void TtrpcTransport::set_hello(const absl::StatusOr<v1::HelloReply>& hello) {
  connection_->set_hello(hello);
}

}  // namespace tandem::rpc

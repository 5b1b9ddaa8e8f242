// Carries calls over one ttrpc connection.

#ifndef TANDEM_RPC_WIRE_TTRPC_TTRPC_TRANSPORT_H_
#define TANDEM_RPC_WIRE_TTRPC_TTRPC_TRANSPORT_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/unique_fd.h"
#include "rpc/client/connection_transport.h"
#include "rpc/client/transport.h"
#include "rpc/wire/ttrpc/client_connection.h"
#include "tandem/rpc/v1/session.pb.h"

namespace tandem::rpc {

// Unary calls, with a callback or with a caller that waits, and streams.
// Callbacks run on one thread of this object's, one after the other.
//
// Peers of other makers take messages of 4 MiB at most, learn of a call that is
// given up when its deadline passes there, and may fail a stream that is not
// read; ours do better where Hello says so (TtrpcExtensions in session.proto).
//
// Thread safety: thread-safe. May be destroyed within a callback.
class TtrpcTransport final : public ConnectionTransport {
 public:
  // Takes a connected stream socket. The other end is to be verified before.
  // Errors: kResourceExhausted (out of descriptors).
  static absl::StatusOr<std::unique_ptr<TtrpcTransport>> Create(
      UniqueFd connection, ttrpc::ClientOptions options);

  // Closes. Does not wait for callbacks, which may need what its caller holds:
  // the thread has a share of the connection, and ends by itself.
  ~TtrpcTransport() override;

  void Start(ClientCall* call, const google::protobuf::MessageLite& request,
             const CallOptions& options) override;
  std::shared_ptr<ClientStream> Open(
      const Method& method, const google::protobuf::MessageLite* request,
      const CallOptions& options) override;
  bool is_over() const override;
  bool WaitOver(absl::Duration timeout) const override;
  bool is_refused() const override;
  bool has_calls() const override;
  void Close() override;
  void Offer(v1::HelloRequest& hello) const override;
  void set_hello(const absl::StatusOr<v1::HelloReply>& hello) override;

 private:
  explicit TtrpcTransport(std::shared_ptr<ttrpc::ClientConnection> connection);

  // Shared with the thread, and with calls and streams, which may outlive this.
  const std::shared_ptr<ttrpc::ClientConnection> connection_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_TTRPC_TTRPC_TRANSPORT_H_

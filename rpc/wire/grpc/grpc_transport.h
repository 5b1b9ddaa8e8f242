// Carries calls over one gRPC connection.

#ifndef TANDEM_RPC_WIRE_GRPC_GRPC_TRANSPORT_H_
#define TANDEM_RPC_WIRE_GRPC_GRPC_TRANSPORT_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/unique_fd.h"
#include "rpc/client/connection_transport.h"
#include "rpc/client/transport.h"
#include "tandem/rpc/v1/session.pb.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace tandem::rpc {

struct GrpcTransportOptions {
  // What errors call the server, such as "unix:/run/kv/kv.sock".
  std::string peer;
  // Larger requests, replies and stream messages fail with kResourceExhausted.
  std::size_t max_message_bytes = 64 << 20;
};

// Thread safety: thread-safe.
class GrpcTransport final : public ConnectionTransport {
 public:
  // Takes a connected stream socket. The other end is to be verified before:
  // gRPC writes to it at once. Errors: kResourceExhausted (out of descriptors).
  static absl::StatusOr<std::unique_ptr<GrpcTransport>> Create(
      UniqueFd connection, GrpcTransportOptions options);

  // Closes.
  ~GrpcTransport() override;

  void Start(ClientCall* call, const google::protobuf::MessageLite& request,
             const CallOptions& options) override;
  std::shared_ptr<ClientStream> Open(
      const Method& method, const google::protobuf::MessageLite* request,
      const CallOptions& options) override;

  bool is_over() const override;
  bool WaitOver(absl::Duration timeout) const override;
  bool is_refused() const override;
  bool has_calls() const override { return connection_.use_count() > 1; }
  void Close() override;
  void Offer(v1::HelloRequest&) const override {}
  void set_hello(const absl::StatusOr<v1::HelloReply>& hello) override;

  // gRPC's channel of this connection, for calls that do not come by way of
  // this class (rpc/client/stub_channel): has_calls() does not count them.
  std::shared_ptr<grpc::Channel> channel() const;

 private:
  class Connection;
  class UnaryCall;
  class Stream;

  // Why a call cannot begin, or OK.
  static absl::Status CheckStart(const Connection& connection,
                                 const Method& method,
                                 const google::protobuf::MessageLite* request,
                                 const CallOptions& options);

  explicit GrpcTransport(std::shared_ptr<Connection> connection);

  // Shared with the calls in flight, which may outlive this.
  const std::shared_ptr<Connection> connection_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_GRPC_TRANSPORT_H_

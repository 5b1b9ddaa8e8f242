// Carries calls over one gRPC connection.

#ifndef TANDEM_RPC_WIRE_GRPC_GRPC_TRANSPORT_H_
#define TANDEM_RPC_WIRE_GRPC_GRPC_TRANSPORT_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/unique_fd.h"
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

// One connection, which it never renews: a Channel makes one of these for each.
// CallOptions::wait_for_ready has no meaning here, since it is ready or over.
//
// Errors: those of Transport, and kFailedPrecondition for a reply that does not
// fit this program's .proto (a field of another type). Calls on a connection
// that is over end with kUnavailable.
//
// Thread safety: thread-safe.
class GrpcTransport final : public Transport {
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

  // True once either side has closed the connection; asks the kernel.
  bool is_over() const;
  // Waits until is_over() or for `timeout`; returns is_over().
  bool WaitOver(absl::Duration timeout) const;

  // True once a call ended with kUnavailable. A server that is stopping refuses
  // new calls before it closes the connection, so it is time for another
  // connection then; calls in flight on this one may still be answered.
  bool is_refused() const;

  // gRPC's channel of this connection, for calls that do not come by way of this
  // class (rpc/client/stub_channel): has_calls() does not count them.
  std::shared_ptr<grpc::Channel> channel() const;

  // True while calls are in flight.
  bool has_calls() const { return connection_.use_count() > 1; }

  // Ends the connection: calls in flight end with kUnavailable. Idempotent.
  void Close();

  // Tells what the server said to Hello, so that errors can say whether it was
  // built from another .proto.
  void set_hello(const v1::HelloReply& hello);

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

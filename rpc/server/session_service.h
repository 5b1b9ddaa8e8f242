// Answers Hello, on every server.

#ifndef TANDEM_RPC_SERVER_SESSION_SERVICE_H_
#define TANDEM_RPC_SERVER_SESSION_SERVICE_H_

#include <utility>

#include "tandem/rpc/v1/session.tandem.h"

namespace tandem::rpc {

// Tells each client the same, and who it is.
//
// Thread safety: immutable.
class SessionService final : public v1::SessionHandler {
 public:
  // `about`: the answer but for the caller.
  explicit SessionService(v1::HelloReply about) : about_(std::move(about)) {}

  absl::StatusOr<v1::HelloReply> Hello(
      Call& call, const v1::HelloRequest& request) override;

 private:
  const v1::HelloReply about_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_SESSION_SERVICE_H_

// Serves an application over the ABCI socket protocol.

#ifndef TANDEM_APP_ABCI_SOCKET_WIRE_H_
#define TANDEM_APP_ABCI_SOCKET_WIRE_H_

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "rpc/base/unique_fd.h"
#include "rpc/server/server_connection.h"
#include "rpc/wire/wire.h"

namespace tandem::app {

// The protocol of CometBFT's `abci = "socket"` and of abci-cli: the service
// ABCI of the server, on the same socket as its other wires and behind the same
// policy.
//
// The requests of a connection are answered in their order, and one begins when
// the one before is answered; those of different connections run beside each
// other, as an Application says (app/application.h). A client may have any
// number of requests on their way: those for which there is no room stay in the
// kernel, which keeps the client from sending more, and so does one that does
// not read what it is answered. A Flush is answered like any other request, and
// no answer waits for one.
//
// What goes wrong is answered with an Exception: the errors of the service, and
// those of rpc::CallGuard. The client is to close the connection then, and so
// does CometBFT's; one that does not is served on. After what is no request at
// all the connection ends by itself.
//
// Thread safety: as rpc::Wire.
class AbciSocketWire final : public rpc::Wire {
 public:
  AbciSocketWire();
  ~AbciSocketWire() override;

  std::string_view name() const override { return "abci"; }
  rpc::Verdict Judge(std::string_view seen) const override;
  // Errors: kInvalidArgument where the service ABCI is not served.
  absl::Status Start(const rpc::WireParts& parts) override;
  void Serve(rpc::UniqueFd socket,
             std::shared_ptr<rpc::ServerConnection> connection) override;
  void Stop(absl::Time deadline) override;

 private:
  class Connection;
  class Call;
  struct Shared;

  // What the connections share, which may outlive this.
  const std::shared_ptr<Shared> shared_;
};

}  // namespace tandem::app

#endif  // TANDEM_APP_ABCI_SOCKET_WIRE_H_

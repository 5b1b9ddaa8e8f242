#include "tests/bench/wire/abci_echo.h"

#include <unistd.h>

#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "app/abci_service.h"
#include "app/abci_socket_wire.h"
#include "app/application.h"
#include "node/abci_socket_session.h"
#include "rpc/base/status_macros.h"
#include "rpc/server/server.h"
#include "rpc/socket/unix_address.h"
#include "tendermint/abci/types.tandem.h"
#include "tests/bench/wire/closed_loop.h"

namespace tandem::bench {
namespace {

using ::tendermint::abci::ABCIClient;
using ::tendermint::abci::RequestCheckTx;
using ::tendermint::abci::ResponseCheckTx;

constexpr absl::Duration kConnectTimeout = absl::Minutes(1);

class AbciCaller final : public Caller {
 public:
  explicit AbciCaller(std::unique_ptr<rpc::Session> session)
      : session_(std::move(session)), client_(*session_) {}

 private:
  absl::StatusOr<Figures> RunCalls(const Cell& cell) override {
    Callbacks calls{ClosedLoop(cell), client_, {}};
    calls.request.set_tx(std::string(cell.payload, 'x'));
    if (cell.depth == 1) {
      return calls.loop.RunBlocking(
          [&] { return client_.CheckTx(calls.request).status(); });
    }
    return calls.loop.Run([&](ClosedLoop::Slot& slot) { calls.Begin(slot); });
  }

  struct Callbacks {
    ClosedLoop loop;
    ABCIClient& client;
    RequestCheckTx request;

    void Begin(ClosedLoop::Slot& slot) {
      client.CheckTx(
          request, {},
          [this, &slot](const absl::Status& status, ResponseCheckTx&) {
            if (loop.Next(slot, status)) Begin(slot);
          });
    }
  };

  const std::unique_ptr<rpc::Session> session_;
  ABCIClient client_;
};

}  // namespace

absl::Status ServeAbci(const std::string& address) {
  app::Application application;
  app::AbciService service(application);
  app::AbciSocketWire wire;
  rpc::ServerOptions options;
  options.address = address;
  options.services = {Serve(service)};
  options.wires = {&wire};
  TANDEM_ASSIGN_OR_RETURN(const auto server,
                          rpc::Server::Start(std::move(options)));
  return server->RunUntilSignal(absl::Seconds(1));
}

absl::StatusOr<std::unique_ptr<Caller>> CallAbci(const std::string& address) {
  TANDEM_ASSIGN_OR_RETURN(const rpc::UnixAddress parsed,
                          rpc::UnixAddress::Parse(address));
  const absl::Time limit = absl::Now() + kConnectTimeout;
  while (true) {
    auto session = node::OpenAbciSocketSession(
        parsed, {.server_uid = ::geteuid()}, kConnectTimeout);
    if (session.ok()) {
      return std::make_unique<AbciCaller>(*std::move(session));
    }
    if (absl::Now() > limit) return session.status();
    absl::SleepFor(absl::Milliseconds(5));
  }
}

}  // namespace tandem::bench

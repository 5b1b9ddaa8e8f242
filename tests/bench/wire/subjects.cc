#include "tests/bench/wire/subjects.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "rpc/base/status_macros.h"
#include "tests/bench/wire/abci_echo.h"
#include "tests/bench/wire/endpoint.h"
#include "tests/bench/wire/grpc_echo.h"
#include "tests/bench/wire/line_socket.h"
#include "tests/bench/wire/raw_echo.h"
#include "tests/bench/wire/tandem_echo.h"

namespace tandem::bench {
namespace {

constexpr absl::Duration kSpin = absl::Microseconds(50);

absl::Status ServeWithoutSpin(const std::string& address) {
  return ServeTandem(address, absl::ZeroDuration());
}
absl::Status ServeWithSpin(const std::string& address) {
  return ServeTandem(address, kSpin);
}

using CallerOr = absl::StatusOr<std::unique_ptr<Caller>>;

CallerOr CallTandemGrpc(const std::string& address) {
  return CallTandem(address, {.wire = rpc::ClientWire::kGrpc});
}
CallerOr CallTtrpc(const std::string& address) {
  return CallTandem(address, {});
}
CallerOr CallTtrpcPool(const std::string& address) {
  return CallTandem(address, {.pool = true});
}
CallerOr CallTtrpcThreads(const std::string& address) {
  return CallTandem(address, {.threads = true});
}
CallerOr CallTtrpcSpin(const std::string& address) {
  return CallTandem(address, {.spin = kSpin});
}

constexpr std::array kSubjects = {
    Subject{"raw", "bytes over a socket", ServeRaw, CallBytes},
    Subject{"raw-tcp", "the same over TCP", ServeRaw, CallBytes, true},
    Subject{"frames", "protobuf behind its length: the framing limit", ServeRaw,
            CallFrames},
    Subject{"frames-tcp", "the same over TCP", ServeRaw, CallFrames, true},
    Subject{"ttrpc", "Tandem, ttrpc, inline handler", ServeWithoutSpin,
            CallTtrpc},
    Subject{"ttrpc-spin", "the same, both sides spinning", ServeWithSpin,
            CallTtrpcSpin},
    Subject{"ttrpc-pool", "the same without spinning, handler on the pool",
            ServeWithoutSpin, CallTtrpcPool},
    Subject{"ttrpc-threads", "inline handler, a blocked thread for each call",
            ServeWithoutSpin, CallTtrpcThreads},
    Subject{"ttrpc-go", "Go's ttrpc at both ends"},
    Subject{"tandem-grpc", "Tandem, gRPC, inline handler", ServeWithoutSpin,
            CallTandemGrpc},
    Subject{"grpc", "gRPC's own listener and channel", ServeGrpc, CallGrpc},
    Subject{"grpc-tcp", "the same over TCP", ServeGrpc, CallGrpc, true},
    Subject{"grpc-go", "Go's gRPC at both ends"},
    Subject{"abci", "CheckTx, ABCI socket protocol, Tandem", ServeAbci,
            CallAbci},
    Subject{"abci-go", "CheckTx, ABCI socket protocol, CometBFT"},
};

}  // namespace

std::span<const Subject> Subjects() { return kSubjects; }

absl::StatusOr<const Subject*> FindSubject(std::string_view name) {
  for (const Subject& subject : kSubjects) {
    if (subject.name == name) return &subject;
  }
  return absl::NotFoundError(
      absl::StrCat("there is no ", std::string(name), " here"));
}

absl::Status RunClient(const Subject& subject, const std::string& address,
                       const std::string& control) {
  TANDEM_ASSIGN_OR_RETURN(const auto caller, subject.call(address));
  TANDEM_ASSIGN_OR_RETURN(rpc::UniqueFd fd, Connect(control));
  LineSocket driver(std::move(fd));
  while (true) {
    const auto line = driver.Receive();
    if (!line.ok()) return absl::OkStatus();
    const auto cell = CellFrom(*line);
    const auto figures =
        cell.ok() ? caller->Run(*cell) : absl::StatusOr<Figures>(cell.status());
    TANDEM_RETURN_IF_ERROR(driver.Send(
        figures.ok() ? ToJson(*figures).dump() : ErrorLine(figures.status())));
  }
}

}  // namespace tandem::bench

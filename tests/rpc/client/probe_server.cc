// Serves tests.wire.Probe at the address given, until it is told to end.

#include <iostream>

#include "rpc/server/server.h"
#include "tests/rpc/wire/probe_service.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: rpc-probe-server unix:/path\n";
    return 2;
  }
  tests::wire::ProbeService probe;
  const auto server = tandem::rpc::Server::Start(
      {.address = argv[1], .services = {Serve(probe)}, .name = "probe"});
  if (!server.ok()) {
    std::cerr << server.status() << "\n";
    return 1;
  }
  return (*server)->RunUntilSignal(absl::Seconds(5)).ok() ? 0 : 1;
}

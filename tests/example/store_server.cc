// Serves the store until SIGTERM or Ctrl-C.
//
//   store_server unix:/run/user/1000/store.sock

#include <iostream>

#include "rpc/server/server.h"
#include "store.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: store_server ADDRESS, such as unix:/tmp/store.sock\n";
    return 2;
  }
  kv::Store store;
  auto server = tandem::rpc::Server::Start(
      {.address = argv[1], .services = {Serve(store)}, .name = "store"});
  if (!server.ok()) {
    std::cerr << server.status().message() << "\n";
    return 1;
  }
  const absl::Status end = (*server)->RunUntilSignal(absl::Seconds(5));
  if (!end.ok()) std::cerr << end.message() << "\n";
  return end.ok() ? 0 : 1;
}

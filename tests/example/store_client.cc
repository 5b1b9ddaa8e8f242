// Calls a store: puts a key, or gets one.
//
//   store_client unix:/run/user/1000/store.sock colour blue
//   store_client unix:/run/user/1000/store.sock colour
//
// A client talks to servers of its own user alone, unless told which other user
// runs the server: STORE_SERVER_UID=0.

#include <cstdlib>
#include <iostream>

#include "kv/v1/store.tandem.h"
#include "rpc/client/channel.h"

namespace {

absl::Status Put(kv::v1::StoreClient store, const char* key,
                 const char* value) {
  kv::v1::PutRequest request;
  request.set_key(key);
  request.set_value(value);
  return store.Put(request).status();
}

absl::Status Print(kv::v1::StoreClient store, const char* key) {
  kv::v1::GetRequest request;
  request.set_key(key);
  auto reply = store.Get(request);
  if (reply.ok()) std::cout << reply->value() << "\n";
  return reply.status();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::cerr << "usage: store_client ADDRESS KEY [VALUE]\n";
    return 2;
  }
  tandem::rpc::ChannelOptions options;
  if (const char* uid = std::getenv("STORE_SERVER_UID")) {
    options.server_uid = std::strtoul(uid, nullptr, 10);
  }
  auto channel = tandem::rpc::Channel::Connect(argv[1], options);
  absl::Status status = channel.status();
  if (status.ok()) {
    kv::v1::StoreClient store(**channel);
    status = argc == 4 ? Put(store, argv[2], argv[3]) : Print(store, argv[2]);
  }
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}

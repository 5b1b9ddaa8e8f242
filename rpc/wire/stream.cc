#include "rpc/wire/stream.h"

#include <optional>

#include "rpc/base/mutex.h"

namespace tandem::rpc {

bool ReceiveAndWait(MessageStream& stream,
                    google::protobuf::MessageLite* into) {
  struct {
    Mutex mu;
    std::optional<bool> got;
  } wait;
  stream.Receive(into, [&wait](bool got) {
    MutexLock lock(wait.mu);
    wait.got = got;
    wait.mu.NotifyOne();
  });
  MutexLock lock(wait.mu);
  wait.mu.Await([&] { return wait.got.has_value(); });
  return *wait.got;
}

}  // namespace tandem::rpc

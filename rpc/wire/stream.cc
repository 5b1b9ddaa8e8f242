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

absl::Status SendAndWait(MessageStream& stream,
                         const google::protobuf::MessageLite& message) {
  for (;;) {
    absl::Status sent = stream.Send(message);
    if (!absl::IsResourceExhausted(sent)) return sent;
    struct {
      Mutex mu;
      bool writable = false;
    } wait;
    stream.OnWritable([&wait] {
      MutexLock lock(wait.mu);
      wait.writable = true;
      wait.mu.NotifyOne();
    });
    MutexLock lock(wait.mu);
    wait.mu.Await([&] { return wait.writable; });
  }
}

}  // namespace tandem::rpc

// What stands behind every generated client: a way to carry calls.

#ifndef TANDEM_RPC_CLIENT_TRANSPORT_H_
#define TANDEM_RPC_CLIENT_TRANSPORT_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/protobuf/message_lite.h"
#include "rpc/client/cancellation.h"
#include "rpc/client/spare_memory.h"
#include "rpc/wire/metadata.h"
#include "rpc/wire/method.h"
#include "rpc/wire/stream.h"

namespace tandem::rpc {

// How long a unary call waits when CallOptions::timeout is unset.
inline constexpr absl::Duration kDefaultCallTimeout = absl::Seconds(10);

struct CallOptions {
  // From now until the caller stops waiting; then the call ends with
  // kDeadlineExceeded and the handler sees it cancelled. Unset: unary calls
  // wait kDefaultCallTimeout, streams have no deadline (they end with the
  // connection).
  std::optional<absl::Duration> timeout = std::nullopt;
  // While no server answers at the address: false, the call fails at once with
  // kUnavailable; true, it waits for one until its deadline.
  bool wait_for_ready = false;
  // Cancels the call when told to.
  std::optional<Cancellation> cancellation = std::nullopt;
  // What the handler finds in Call::metadata(). What no wire can carry ends the
  // call with kInvalidArgument (CheckMetadata()).
  Metadata metadata = {};
};

class BlockingCall;

// One unary call in flight, made by the generated client. The transport fills
// `reply` and `status`, then runs `done` once, without locks held, on any
// thread, maybe before Start returns. The object may be gone when `done`
// returns. While `done` runs, answers to other calls may have to wait.
struct ClientCall {
  const Method* method = nullptr;
  google::protobuf::MessageLite* reply = nullptr;  // any that parses the same
  absl::Status status;
  void (*done)(ClientCall*) = nullptr;
  // This call, where the thread that calls Start waits for it: a wire whose
  // blocked callers read the socket themselves says where (WaitAt()).
  BlockingCall* blocking = nullptr;
};

// The client's end of a stream.
class ClientStream : public MessageStream {
 public:
  // Sends no more; Receive goes on.
  virtual void CloseSend() = 0;
  // Gives the call up; the handler sees it cancelled. Idempotent.
  virtual void Cancel() = 0;
  // How the stream ended, once Receive has said false. Until then kOk.
  virtual absl::Status status() const = 0;
};

// Carries calls to one peer.
//
// Errors that any call may end with, besides the handler's own:
//   kUnavailable        no server there, or the connection broke; whether the
//                       handler ran is unknown then
//   kDeadlineExceeded, kCancelled
//   kUnimplemented      the server has no such service or method
//   kInvalidArgument    the server could not parse the request
//   kResourceExhausted  the server's queue is full, or a message is too large
//   kPermissionDenied   the server's access policy, or the client's (wrong uid)
//
// Thread safety: thread-safe. Destroy after the last call has ended; destroying
// it earlier ends them with kCancelled or kUnavailable.
class Transport {
 public:
  virtual ~Transport() = default;

  // Begins a unary call. `request` is read before Start returns; `call` must
  // live until its `done` ran.
  virtual void Start(ClientCall* call,
                     const google::protobuf::MessageLite& request,
                     const CallOptions& options) = 0;

  // Begins a call that streams; never null. `request` is null where the client
  // streams. An error shows as the status of a stream that is over.
  virtual std::shared_ptr<ClientStream> Open(
      const Method& method, const google::protobuf::MessageLite* request,
      const CallOptions& options) = 0;

  // For calls to live in.
  const std::shared_ptr<SpareMemory>& spare() const { return spare_; }

 private:
  const std::shared_ptr<SpareMemory> spare_ = std::make_shared<SpareMemory>();
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_TRANSPORT_H_

// What passes on the streams of a service written for gRPC, which gRPC reads
// and writes itself.

#ifndef TANDEM_RPC_WIRE_GRPC_STREAM_WATCH_H_
#define TANDEM_RPC_WIRE_GRPC_STREAM_WATCH_H_

#include <grpcpp/support/server_interceptor.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "rpc/base/mutex.h"
#include "rpc/server/call_guard.h"
#include "rpc/server/server_connection.h"

namespace tandem::rpc {

// Watches one call that streams: counts the bytes of its messages, holds what
// comes in against the memory for requests, and shows its writes to the
// connection, which ends the call of a client that does not read.
//
// Lifecycle: gRPC's interceptor of the call, so it lives as long as the call's
// context. It does nothing but between Begin() and End().
//
// Thread safety: thread-safe.
class StreamWatch final : public grpc::experimental::Interceptor,
                          public ServerConnection::Wait {
 public:
  // The watch of the call that a gRPC handler is just being run for, on this
  // thread; null when it has none. Said once.
  static StreamWatch* TakeStarting();

  // How many bytes a message of the client takes.
  using SizeOf = std::function<std::size_t(const void* message)>;

  // All outlive End(). `call` is the one that `active` and `method` are of.
  void Begin(grpc_call* call, ActiveCall& active, const CallGuard& guard,
             const CallGuard::Method& method, SizeOf size_of)
      ABSL_LOCKS_EXCLUDED(mu_);
  // From now on nothing is counted, and no write is shown any more. Idempotent.
  void End() ABSL_LOCKS_EXCLUDED(mu_);

  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Errors: those for which the call must end.
  absl::Status LookAt(grpc::experimental::InterceptorBatchMethods& batch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // With the connection's lock held, and not ours.
  void EndStalled() override;

  // Of Begin(); while a write is shown they do not change.
  grpc_call* call_ = nullptr;
  ActiveCall* active_ = nullptr;
  const CallGuard* guard_ = nullptr;
  const CallGuard::Method* method_ = nullptr;

  // Before the connection's.
  Mutex mu_;
  SizeOf size_of_ ABSL_GUARDED_BY(mu_);
  bool is_watching_ ABSL_GUARDED_BY(mu_) = false;
  // What gRPC was given last to write, until it has.
  const grpc::experimental::InterceptorBatchMethods* writing_
      ABSL_GUARDED_BY(mu_) = nullptr;
};

// Makes one for each call that streams, of some services: for a
// grpc::ServerBuilder.
//
// Thread safety: immutable.
class StreamWatches final
    : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  // Names as in "kv.v1.Store".
  explicit StreamWatches(std::set<std::string, std::less<>> services)
      : services_(std::move(services)) {}

  // Null for other calls.
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* call) override;

 private:
  const std::set<std::string, std::less<>> services_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_GRPC_STREAM_WATCH_H_

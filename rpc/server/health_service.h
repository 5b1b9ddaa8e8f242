// Answers the standard health check, on every server.

#ifndef TANDEM_RPC_SERVER_HEALTH_SERVICE_H_
#define TANDEM_RPC_SERVER_HEALTH_SERVICE_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "grpc/health/v1/health.tandem.h"
#include "rpc/base/mutex.h"

namespace tandem::rpc {

// Says SERVING of the server and of each service until Stop(). It runs on the
// server's workers: where it answers, other handlers run too.
//
// Thread safety: thread-safe.
class HealthService final : public grpc::health::v1::HealthHandler {
 public:
  using Request = grpc::health::v1::HealthCheckRequest;
  using Response = grpc::health::v1::HealthCheckResponse;

  // `services`: the names of what the server serves.
  explicit HealthService(std::set<std::string> services)
      : services_(std::move(services)) {}

  absl::StatusOr<Response> Check(Call& call, const Request& request) override
      ABSL_LOCKS_EXCLUDED(mu_);
  void Watch(Call& call, const Request& request, Writer<Response> out) override
      ABSL_LOCKS_EXCLUDED(mu_);

  // From now on says NOT_SERVING. Who watches is told, and their streams end
  // with kUnavailable, so that nobody who only watches holds up a server that
  // stops. Idempotent.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Watcher {
    std::string service;
    Writer<Response> out;
  };

  bool Knows(const std::string& service) const;
  Response::ServingStatus Status() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Forget(std::uint64_t watcher) ABSL_LOCKS_EXCLUDED(mu_);

  // Tells it that the server is stopping.
  void End(Watcher watcher) const;

  const std::set<std::string> services_;

  Mutex mu_;
  bool is_stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::uint64_t last_watcher_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::uint64_t, Watcher> watchers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_HEALTH_SERVICE_H_

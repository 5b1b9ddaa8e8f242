// Tells gRPC's tools, such as grpcurl, what a server serves.

#ifndef TANDEM_RPC_SERVER_REFLECTION_SERVICE_H_
#define TANDEM_RPC_SERVER_REFLECTION_SERVICE_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "grpc/reflection/v1/reflection.tandem.h"
#include "grpc/reflection/v1alpha/reflection.tandem.h"
#include "rpc/base/mutex.h"

namespace tandem::rpc {

// The streams of one service that are open, so that a server that stops can end
// them: a client that waits for the user's next question says nothing.
//
// Thread safety: thread-safe.
class Conversations {
 public:
  // One of them.
  class Member {
   public:
    // Ends it with kUnavailable, unless an answer is on its way: then after
    // that. Called once, on any thread.
    virtual void Stop() = 0;

   protected:
    virtual ~Member() = default;
  };

  // Stops it at once when the others have been stopped.
  void Add(const std::shared_ptr<Member>& member) ABSL_LOCKS_EXCLUDED(mu_);
  // From the member's destructor.
  void Remove(Member* member) ABSL_LOCKS_EXCLUDED(mu_);

  // Stops all there are. Idempotent.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  Mutex mu_;
  bool is_stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::map<Member*, std::weak_ptr<Member>> members_ ABSL_GUARDED_BY(mu_);
};

// Lists services, and answers with the .proto files that are linked into this
// program: not only with those of its services. Under both names: tools ask for
// v1alpha, and newer ones for v1 first.
//
// Thread safety: thread-safe.
class ReflectionService final
    : public grpc::reflection::v1::ServerReflectionHandler {
 public:
  // `services`: the names of what the server serves.
  explicit ReflectionService(std::set<std::string> services)
      : services_(std::move(services)) {}

  void ServerReflectionInfo(
      Call& call, Reader<grpc::reflection::v1::ServerReflectionRequest> in,
      Writer<grpc::reflection::v1::ServerReflectionResponse> out) override;

  // Ends the streams that are open.
  void Stop() { conversations_.Stop(); }

 private:
  const std::set<std::string> services_;
  Conversations conversations_;
};

// The same as v1alpha.
class ReflectionAlphaService final
    : public grpc::reflection::v1alpha::ServerReflectionHandler {
 public:
  explicit ReflectionAlphaService(std::set<std::string> services)
      : services_(std::move(services)) {}

  void ServerReflectionInfo(
      Call& call, Reader<grpc::reflection::v1alpha::ServerReflectionRequest> in,
      Writer<grpc::reflection::v1alpha::ServerReflectionResponse> out) override;

  // Ends the streams that are open.
  void Stop() { conversations_.Stop(); }

 private:
  const std::set<std::string> services_;
  Conversations conversations_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_REFLECTION_SERVICE_H_

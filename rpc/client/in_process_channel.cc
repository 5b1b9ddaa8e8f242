#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rpc/base/mutex.h"
#include "rpc/client/channel.h"
#include "rpc/client/failed_stream.h"
#include "rpc/client/in_process.h"

namespace tandem::rpc {
namespace {

using google::protobuf::MessageLite;

InProcessTransport::Options TransportOptions(const InProcessOptions& options) {
  InProcessTransport::Options out;
  out.workers = options.workers;
  return out;
}

absl::Status Over(const Method& method) {
  return absl::UnavailableError(
      absl::StrCat(method.path, ": the in-process session was closed"));
}

// A session ends when it is closed, and never by itself. It has workers of its
// own, as a connection to another process would.
class InProcessSession final : public Session {
 public:
  InProcessSession(std::vector<Served> services,
                   const InProcessOptions& options)
      : transport_(std::move(services), TransportOptions(options)) {}

  void Start(ClientCall* call, const MessageLite& request,
             const CallOptions& options) override {
    if (!is_over()) return transport_.Start(call, request, options);
    call->status = Over(*call->method);
    call->done(call);
  }
  std::shared_ptr<ClientStream> Open(const Method& method,
                                     const MessageLite* request,
                                     const CallOptions& options) override {
    if (is_over()) return FailedStream(Over(method));
    return transport_.Open(method, request, options);
  }

  const absl::StatusOr<v1::HelloReply>& hello() const override {
    return hello_;
  }
  bool is_over() const override ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return is_over_;
  }
  bool WaitOver(absl::Duration timeout) const override
      ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return mu_.AwaitFor(timeout, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return is_over_;
    });
  }
  void Close() override ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(mu_);
      is_over_ = true;
      mu_.NotifyAll();
    }
    transport_.Close();
  }

 private:
  const absl::StatusOr<v1::HelloReply> hello_ =
      absl::UnimplementedError("a channel within the process says no Hello");
  mutable Mutex mu_;
  bool is_over_ ABSL_GUARDED_BY(mu_) = false;
  InProcessTransport transport_;
};

class InProcessChannel final : public Channel {
 public:
  InProcessChannel(std::vector<Served> services,
                   const InProcessOptions& options)
      : services_(services),
        options_(options),
        transport_(std::move(services), TransportOptions(options)) {}

  void Start(ClientCall* call, const MessageLite& request,
             const CallOptions& options) override {
    transport_.Start(call, request, options);
  }
  std::shared_ptr<ClientStream> Open(const Method& method,
                                     const MessageLite* request,
                                     const CallOptions& options) override {
    return transport_.Open(method, request, options);
  }
  absl::StatusOr<std::unique_ptr<Session>> OpenSession(
      absl::Duration timeout) override {
    return std::make_unique<InProcessSession>(services_, options_);
  }

 private:
  const std::vector<Served> services_;
  const InProcessOptions options_;
  InProcessTransport transport_;
};

}  // namespace

std::unique_ptr<Channel> Channel::InProcess(std::vector<Served> services,
                                            InProcessOptions options) {
  return std::make_unique<InProcessChannel>(std::move(services), options);
}

}  // namespace tandem::rpc

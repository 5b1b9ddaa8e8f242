// Channel::InProcess.

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rpc/base/version.h"
#include "rpc/client/channel.h"
#include "rpc/client/in_process.h"
#include "rpc/client/session.h"
#include "rpc/server/session_service.h"
#include "tandem/rpc/v1/session.tandem.h"

namespace tandem::rpc {
namespace {

using google::protobuf::MessageLite;

InProcessTransport::Options TransportOptions(const InProcessOptions& options) {
  AccessPolicy access = options.access;
  access.SetDefault(v1::SessionHandler::Table().name, AllowList::Everybody());
  return {.workers = options.workers,
          .max_message_bytes = options.max_message_bytes,
          .access = std::move(access),
          .caller = options.caller};
}

// What this process answers to Hello, but for the caller.
v1::HelloReply About(const std::vector<Served>& services,
                     const InProcessOptions& options) {
  const absl::Time now = absl::Now();
  v1::HelloReply about;
  about.set_framework_version(std::string(FrameworkVersion()));
  about.set_instance_id(absl::StrCat(::getpid(), "-", absl::ToUnixNanos(now)));
  about.set_server("in-process");
  about.set_started_unix_nanos(absl::ToUnixNanos(now));
  for (const Served& served : services) {
    v1::ServiceSchema& schema = *about.add_services();
    schema.set_name(std::string(served.info->name));
    schema.set_fingerprint(std::string(served.info->fingerprint));
  }
  about.mutable_limits()->set_max_request_bytes(options.max_message_bytes);
  about.mutable_limits()->set_max_reply_bytes(options.max_message_bytes);
  return about;
}

// A connection of its own, so that Close() ends nobody else's calls.
class InProcessSession final : public Session {
 public:
  InProcessSession(const std::vector<Served>& services,
                   const InProcessOptions& options)
      : transport_(services, TransportOptions(options)),
        hello_(v1::SessionClient(transport_).Hello(v1::HelloRequest())) {}

  void Start(ClientCall* call, const MessageLite& request,
             const CallOptions& options) override {
    transport_.Start(call, request, options);
  }
  std::shared_ptr<ClientStream> Open(const Method& method,
                                     const MessageLite* request,
                                     const CallOptions& options) override {
    return transport_.Open(method, request, options);
  }
  const absl::StatusOr<v1::HelloReply>& hello() const override {
    return hello_;
  }
  bool is_over() const override { return transport_.is_over(); }
  bool WaitOver(absl::Duration timeout) const override {
    return transport_.WaitOver(timeout);
  }
  void Close() override { transport_.Close(); }

 private:
  InProcessTransport transport_;
  const absl::StatusOr<v1::HelloReply> hello_;
};

class InProcessChannel final : public Channel {
 public:
  InProcessChannel(std::vector<Served> services,
                   const InProcessOptions& options)
      : options_(options),
        session_(About(services, options)),
        services_(WithSession(std::move(services))),
        transport_(services_, TransportOptions(options)) {}

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
      absl::Duration) override {
    auto session = std::make_unique<InProcessSession>(services_, options_);
    const absl::Status& hello = session->hello().status();
    if (absl::IsUnavailable(hello)) return hello;
    return session;
  }

 private:
  // As every server, this one answers Hello.
  std::vector<Served> WithSession(std::vector<Served> services) {
    services.push_back(Serve(session_));
    return services;
  }

  const InProcessOptions options_;
  SessionService session_;
  const std::vector<Served> services_;
  InProcessTransport transport_;
};

}  // namespace

std::unique_ptr<Channel> Channel::InProcess(std::vector<Served> services,
                                            InProcessOptions options) {
  return std::make_unique<InProcessChannel>(std::move(services), options);
}

}  // namespace tandem::rpc

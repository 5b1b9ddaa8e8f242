#include "tests/node/app_session.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "app/abci_socket_wire.h"
#include "gtest/gtest.h"
#include "node/abci_socket_session.h"
#include "rpc/client/channel.h"
#include "rpc/server/server.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/support/wire.h"

namespace tandem::node {
namespace {

using rpc::testing::IsOk;

constexpr absl::Duration kGenerous = absl::Seconds(20);

// A session over a real socket, together with its server.
class ServedSession final : public rpc::Session {
 public:
  ServedSession(FakeApp& app, int workers, const std::string& wire) {
    // One wire, since ThreadSanitizer is not to see gRPC.
    auto server = rpc::Server::Start({.address = dir_.Address("app.sock"),
                                      .grpc = wire == "grpc",
                                      .ttrpc = false,
                                      .wires = {&socket_wire_},
                                      .services = {Serve(app)},
                                      .instance_id = "fake-instance",
                                      .workers = workers});
    EXPECT_THAT(server, IsOk());
    server_ = *std::move(server);
    auto session = wire == "grpc" ? OverGrpc() : OverSocket();
    EXPECT_THAT(session, IsOk());
    session_ = *std::move(session);
    app.SetBreak([this] { Close(); });
  }
  ~ServedSession() override {
    session_.reset();
    EXPECT_TRUE(server_->Stop(kGenerous));
  }

  void Start(rpc::ClientCall* call,
             const google::protobuf::MessageLite& request,
             const rpc::CallOptions& options) override {
    session_->Start(call, request, options);
  }
  std::shared_ptr<rpc::ClientStream> Open(
      const rpc::Method& method, const google::protobuf::MessageLite* request,
      const rpc::CallOptions& options) override {
    return session_->Open(method, request, options);
  }
  const absl::StatusOr<rpc::v1::HelloReply>& hello() const override {
    return session_->hello();
  }
  pid_t server_pid() const override { return session_->server_pid(); }
  bool is_over() const override { return session_->is_over(); }
  bool WaitOver(absl::Duration timeout) const override {
    return session_->WaitOver(timeout);
  }
  void Close() override { session_->Close(); }

 private:
  absl::StatusOr<std::unique_ptr<rpc::Session>> OverGrpc() {
    auto channel = rpc::Channel::Connect(server_->address(),
                                         {.wire = rpc::ClientWire::kGrpc});
    if (!channel.ok()) return channel.status();
    channel_ = *std::move(channel);
    return channel_->OpenSession(kGenerous);
  }
  absl::StatusOr<std::unique_ptr<rpc::Session>> OverSocket() {
    const auto address = rpc::UnixAddress::Parse(server_->address());
    if (!address.ok()) return address.status();
    return OpenAbciSocketSession(*address, {.server_uid = ::geteuid()},
                                 kGenerous);
  }

  const rpc::testing::TempDir dir_;
  app::AbciSocketWire socket_wire_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<rpc::Channel> channel_;
  std::unique_ptr<rpc::Session> session_;
};

}  // namespace

std::unique_ptr<rpc::Session> OpenAppSession(FakeApp& app, int workers) {
  const std::string wire = test::WireOr("");
  if (wire.empty()) return std::make_unique<FakeSession>(app, workers);
  return std::make_unique<ServedSession>(app, workers, wire);
}

}  // namespace tandem::node

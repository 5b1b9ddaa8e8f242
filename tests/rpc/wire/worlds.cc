#include "tests/rpc/wire/worlds.h"

#include <grpcpp/server_posix.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>

#include "gtest/gtest.h"

namespace tests::wire {

using tandem::rpc::GrpcTransport;
using tandem::rpc::UniqueFd;

InProcessWorld::InProcessWorld(ProbeService& service, WorldOptions options)
    : transport_({Serve(service)},
                 {.workers = options.workers,
                  .max_queued_calls = options.max_queued_calls,
                  .max_message_bytes = kMaxMessageBytes,
                  .access = options.access}) {}

ServerWorld::ServerWorld(ProbeService& service, tandem::rpc::ClientWire wire,
                         WorldOptions options) {
  auto server = tandem::rpc::Server::Start(
      {.address = dir_.Address("server"),
       .access = options.access,
       .grpc = wire == tandem::rpc::ClientWire::kGrpc,
       .services = {Serve(service)},
       .workers = options.workers,
       .max_queued_calls = options.max_queued_calls,
       .max_message_bytes = kMaxMessageBytes,
       .max_reply_bytes = kMaxMessageBytes});
  EXPECT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  auto channel = tandem::rpc::Channel::Connect(
      server_->address(),
      {.max_message_bytes = kMaxMessageBytes, .wire = wire});
  EXPECT_TRUE(channel.ok()) << channel.status();
  channel_ = *std::move(channel);
}

GrpcWorld::GrpcWorld(ProbeService& service, WorldOptions options)
    : connection_(std::make_shared<tandem::rpc::ServerConnection>(
          tandem::rpc::Caller{.uid = ::geteuid(), .wire = "grpc"})),
      pool_(options.workers, options.max_queued_calls),
      service_(Serve(service), {.connection_of =
                                    [this](const std::string& peer) {
                                      return is_refusing_ ? nullptr
                                                          : connection_;
                                    },
                                .guard = &guard_,
                                .pool = &pool_,
                                .max_message_bytes = kMaxMessageBytes,
                                .max_reply_bytes = kMaxMessageBytes}) {
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  transport_ = NewTransport();
}

GrpcWorld::~GrpcWorld() {
  transport_.reset();
  server_->Shutdown(std::chrono::system_clock::now());
  pool_.Stop();
}

UniqueFd GrpcWorld::Connect() {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                         ends),
            0);
  grpc::AddInsecureChannelFromFd(server_.get(), ends[0]);
  return UniqueFd(ends[1]);
}

std::unique_ptr<GrpcTransport> GrpcWorld::NewTransport() {
  auto transport = GrpcTransport::Create(
      Connect(),
      {.peer = "unix:/test.sock", .max_message_bytes = kMaxMessageBytes});
  EXPECT_TRUE(transport.ok()) << transport.status();
  return *std::move(transport);
}

}  // namespace tests::wire

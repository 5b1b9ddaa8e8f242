// A server of ProbeService and a way to it, over each wire.

#ifndef TANDEM_TESTS_RPC_WIRE_WORLDS_H_
#define TANDEM_TESTS_RPC_WIRE_WORLDS_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>

#include "rpc/base/unique_fd.h"
#include "rpc/client/channel.h"
#include "rpc/client/connection_transport.h"
#include "rpc/client/in_process.h"
#include "rpc/client/transport.h"
#include "rpc/server/server.h"
#include "rpc/server/worker_pool.h"
#include "rpc/testing/temp_dir.h"
#include "rpc/wire/grpc/grpc_service.h"
#include "rpc/wire/grpc/grpc_transport.h"
#include "tests/rpc/wire/probe_service.h"

namespace tests::wire {

constexpr std::size_t kMaxMessageBytes = 8 << 20;

struct WorldOptions {
  int workers = 4;
  int max_queued_calls = 1024;
  tandem::rpc::AccessPolicy access = tandem::rpc::AccessPolicy::SameUser();
};

class World {
 public:
  virtual ~World() = default;
  virtual tandem::rpc::Transport& transport() = 0;
};

class InProcessWorld final : public World {
 public:
  InProcessWorld(ProbeService& service, WorldOptions options = {});
  tandem::rpc::Transport& transport() override { return transport_; }

 private:
  tandem::rpc::InProcessTransport transport_;
};

// As users have it: a Server and a Channel. Over ttrpc the server offers
// nothing else, so that nothing of gRPC runs.
class ServerWorld final : public World {
 public:
  ServerWorld(ProbeService& service, tandem::rpc::ClientWire wire,
              WorldOptions options);
  tandem::rpc::Transport& transport() override { return *channel_; }

 private:
  const tandem::rpc::testing::TempDir dir_;
  std::unique_ptr<tandem::rpc::Server> server_;
  std::unique_ptr<tandem::rpc::Channel> channel_;
};

// gRPC alone, over pairs of connected sockets.
class GrpcWorld final : public World {
 public:
  GrpcWorld(ProbeService& service, WorldOptions options = {});
  ~GrpcWorld() override;

  tandem::rpc::Transport& transport() override { return *transport_; }

  // Another connection to the server: the client's end of it.
  tandem::rpc::UniqueFd Connect();
  std::unique_ptr<tandem::rpc::GrpcTransport> NewTransport();

  // From now on no connection has a caller.
  void RefuseAll() { is_refusing_ = true; }

 private:
  std::atomic<bool> is_refusing_{false};
  const std::shared_ptr<tandem::rpc::ServerConnection> connection_;
  const tandem::rpc::AccessPolicy policy_ =
      tandem::rpc::AccessPolicy::SameUser();
  tandem::rpc::RefusalLog refusals_{"test"};
  const tandem::rpc::CallGuard guard_{policy_, 1 << 20, refusals_};
  tandem::rpc::WorkerPool pool_;
  tandem::rpc::GrpcService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<tandem::rpc::GrpcTransport> transport_;
};

}  // namespace tests::wire

#endif  // TANDEM_TESTS_RPC_WIRE_WORLDS_H_

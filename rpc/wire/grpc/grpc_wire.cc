#include "rpc/wire/grpc/grpc_wire.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "rpc/base/status_macros.h"
#include "rpc/server/hand_over_check.h"
#include "rpc/wire/grpc/preface.h"
#include "rpc/wire/grpc/stream_watch.h"

namespace tandem::rpc {
namespace {

// A connected client that says nothing and answers no ping for this long is
// gone.
constexpr absl::Duration kPingAfter = absl::Seconds(15);
constexpr absl::Duration kPingTimeout = absl::Seconds(5);

int Millis(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

// gRPC's limits are ints.
int ToInt(std::size_t bytes) {
  return static_cast<int>(
      std::min<std::size_t>(bytes, std::numeric_limits<int>::max()));
}

// Above the limit that callers are told of: who comes to this one was told
// thousands of times.
int StreamLimit(int max_calls) {
  return static_cast<int>(std::clamp<std::int64_t>(
      std::int64_t{2} * max_calls, 1000, std::numeric_limits<int>::max()));
}

// Whether clients stream to a service that gRPC parses messages for.
bool TakesGrpcStreams(const std::vector<ServedGrpc>& services) {
  for (const ServedGrpc& served : services) {
    const auto* const service = DescriptorOf(served);
    for (int i = 0; service != nullptr && i < service->method_count(); ++i) {
      if (service->method(i)->client_streaming()) return true;
    }
  }
  return false;
}

}  // namespace

Verdict GrpcWire::Judge(std::string_view seen) const {
  return JudgePreface(seen);
}

void GrpcWire::AddService(const Served& served, const WireParts& parts,
                          grpc::ServerBuilder& builder) {
  services_.push_back(std::make_unique<GrpcService>(
      served, GrpcServiceOptions{.connection_of =
                                     [this](const std::string& peer) {
                                       return options_.connections->Find(peer);
                                     },
                                 .guard = parts.guard,
                                 .pool = parts.pool,
                                 .max_message_bytes = parts.max_message_bytes,
                                 .max_reply_bytes = parts.max_reply_bytes}));
  builder.RegisterService(services_.back().get());
}

absl::Status GrpcWire::AddGrpcServices(const WireParts& parts,
                                       grpc::ServerBuilder& builder) {
  if (options_.services.empty()) return absl::OkStatus();
  for (const ServedGrpc& served : options_.services) {
    TANDEM_ASSIGN_OR_RETURN(
        std::unique_ptr<GuardedService> service,
        GuardedService::Create(served,
                               {.connection_of =
                                    [this](const std::string& peer) {
                                      return options_.connections->Find(peer);
                                    },
                                .guard = parts.guard,
                                .max_message_bytes = parts.max_message_bytes}));
    builder.RegisterService(service.get());
    guarded_services_.push_back(std::move(service));
  }
  std::set<std::string, std::less<>> names;
  for (const ServedGrpc& served : options_.services) {
    names.emplace(served.name);
  }
  std::vector<
      std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
      interceptors;
  interceptors.push_back(std::make_unique<StreamWatches>(std::move(names)));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  // Each of its queues, one a core, has a thread that waits for calls.
  const int waiting =
      static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, waiting);
  grpc::ResourceQuota quota;
  quota.SetMaxThreads(waiting + options_.max_threads);
  builder.SetResourceQuota(quota);
  return absl::OkStatus();
}

absl::Status GrpcWire::Start(const WireParts& parts) {
  // Once is enough: the library does not change while we run.
  static const absl::Status* const hand_over =
      new absl::Status(CheckHandOver());
  TANDEM_RETURN_IF_ERROR(*hand_over);
  grpc::ServerBuilder builder;
  TANDEM_RETURN_IF_ERROR(AddGrpcServices(parts, builder));
  for (const Served& served : parts.services) {
    AddService(served, parts, builder);
  }
  // gRPC looks at a message's size only once all of it has arrived, as we do,
  // and does not tell us when it refuses one. It does so where we do not see
  // the bytes.
  builder.SetMaxReceiveMessageSize(TakesGrpcStreams(options_.services)
                                       ? ToInt(parts.max_message_bytes)
                                       : -1);
  builder.SetMaxSendMessageSize(ToInt(parts.max_reply_bytes));
  // gRPC would decompress a MiB into a GiB, of a call that may be refused, too.
  for (const auto algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder.SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
  // gRPC 1.51 ends a connection whose client begins a call just as another one
  // ends at the limit ("Failed parsing HTTP/2"), so CallGuard has a lower one.
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             StreamLimit(parts.max_calls_per_connection));
  // Notices clients that are stopped, or sent gRPC's first bytes and no more.
  // There is no limit on idleness: an idle client costs little, and for a
  // client with state (Session) a closed connection is a restarted server.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Millis(kPingAfter));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             Millis(kPingTimeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // What newer releases of gRPC call it.
  builder.AddChannelArgument("grpc.http2.ping_timeout_ms",
                             Millis(kPingTimeout));
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    return absl::InternalError(
        "gRPC does not start a server; its log says why");
  }
  return absl::OkStatus();
}

void GrpcWire::Serve(UniqueFd socket, std::shared_ptr<ServerConnection>) {
  grpc::AddInsecureChannelFromFd(server_.get(), socket.Release());
}

void GrpcWire::Stop(absl::Time deadline) {
  server_->Shutdown(absl::ToChronoTime(deadline));
}

}  // namespace tandem::rpc

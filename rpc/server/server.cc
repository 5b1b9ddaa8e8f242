#include "rpc/server/server.h"

#include <poll.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "google/protobuf/descriptor.h"
#include "rpc/base/mutex.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/version.h"
#include "rpc/server/admin_service.h"
#include "rpc/server/call_guard.h"
#include "rpc/server/connection_table.h"
#include "rpc/server/front_door.h"
#include "rpc/server/health_service.h"
#include "rpc/server/memory_budget.h"
#include "rpc/server/notify.h"
#include "rpc/server/reflection_service.h"
#include "rpc/server/refusal_log.h"
#include "rpc/server/session_service.h"
#include "rpc/server/termination.h"
#include "rpc/server/worker_pool.h"
#include "rpc/socket/handed_in_socket.h"
#include "rpc/socket/unix_address.h"
#include "rpc/wire/frames/poller.h"
#include "rpc/wire/grpc/grpc_wire.h"
#include "rpc/wire/ttrpc/ttrpc_wire.h"
#include "rpc/wire/wire.h"
#include "spdlog/spdlog.h"

namespace tandem::rpc {
namespace {

// For handlers to notice that their calls were cancelled.
constexpr absl::Duration kGrace = absl::Seconds(1);
// For clients to read that their calls were cancelled; a part of kGrace.
constexpr absl::Duration kLastWords = absl::Milliseconds(300);

absl::Status CheckAddress(const ServerOptions& options) {
  if (!IsHandedIn(options.address)) {
    TANDEM_RETURN_IF_ERROR(UnixAddress::Parse(options.address).status());
  } else if (options.permissions != SocketPermissions{}) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.address,
        ": the mode, owner and group of a socket that is handed in are set by "
        "who made it (SocketMode=, SocketUser= and SocketGroup= of a socket "
        "unit)"));
  }
  return absl::OkStatus();
}

absl::Status CheckWires(const ServerOptions& options) {
  if (!options.grpc && !options.ttrpc && options.wires.empty()) {
    return absl::InvalidArgumentError("a server needs a wire");
  }
  if (!options.grpc && !options.grpc_services.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the service ", std::string(options.grpc_services.front().name),
        " can be served over gRPC alone, and that is off"));
  }
  return absl::OkStatus();
}

absl::Status CheckLimits(const ServerOptions& options) {
  if (options.workers < 1 || options.poll_threads < 1 ||
      options.max_grpc_threads < 1 || options.max_queued_calls < 0 ||
      options.max_message_bytes < 1 || options.max_reply_bytes < 1 ||
      options.max_calls_per_connection < 1 || options.max_connections < 1 ||
      options.max_connections_per_uid < 1 ||
      options.preface_timeout <= absl::ZeroDuration() ||
      options.idle_timeout <= absl::ZeroDuration() ||
      options.write_timeout <= absl::ZeroDuration() ||
      options.read_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        "a server needs a worker, a connection, a call and a byte, and "
        "positive timeouts: look at its ServerOptions");
  }
  if (options.max_request_memory < options.max_message_bytes ||
      options.max_request_memory_per_uid < options.max_message_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a message of ", options.max_message_bytes,
        " bytes (max_message_bytes) has no room in the memory for requests: ",
        options.max_request_memory, " bytes in total (max_request_memory), ",
        options.max_request_memory_per_uid,
        " of one uid (max_request_memory_per_uid)"));
  }
  return absl::OkStatus();
}

// Services are named once, and rules name what there is.
absl::Status CheckServices(const ServerOptions& options) {
  std::set<std::string, std::less<>> scopes;
  const auto add = [&scopes](const ServiceInfo& service) {
    if (!scopes.insert(std::string(service.name)).second) return false;
    for (const Method& method : service.methods) {
      scopes.insert(absl::StrCat(std::string(service.name), "/",
                                 std::string(method.name)));
    }
    return true;
  };
  add(v1::SessionHandler::Table());
  add(v1::AdminHandler::Table());
  add(grpc::health::v1::HealthHandler::Table());
  if (options.reflection) {
    add(grpc::reflection::v1::ServerReflectionHandler::Table());
    add(grpc::reflection::v1alpha::ServerReflectionHandler::Table());
  }
  for (const Served& served : options.services) {
    if (!add(*served.info)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the service ", std::string(served.info->name), " is served twice"));
    }
  }
  for (const ServedGrpc& served : options.grpc_services) {
    const std::string name(served.name);
    if (!scopes.insert(name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("the service ", name, " is served twice"));
    }
    const auto* const service = DescriptorOf(served);
    // GuardedService refuses one that is not known.
    for (int i = 0; service != nullptr && i < service->method_count(); ++i) {
      scopes.insert(absl::StrCat(name, "/", service->method(i)->name()));
    }
  }
  return options.access.CheckScopes(scopes);
}

// Of all that is served.
std::set<std::string> ServiceNames(const ServerOptions& options) {
  std::set<std::string_view> names = {
      v1::SessionHandler::Table().name, v1::AdminHandler::Table().name,
      grpc::health::v1::HealthHandler::Table().name};
  if (options.reflection) {
    names.insert(grpc::reflection::v1::ServerReflectionHandler::Table().name);
    names.insert(
        grpc::reflection::v1alpha::ServerReflectionHandler::Table().name);
  }
  for (const Served& served : options.services) names.insert(served.info->name);
  for (const ServedGrpc& served : options.grpc_services) {
    names.insert(served.name);
  }
  return {names.begin(), names.end()};
}

// What the options say, and what they leave to us.
AccessPolicy PolicyOf(const ServerOptions& options) {
  AccessPolicy policy = options.access;
  policy.SetDefault(v1::SessionHandler::Table().name, AllowList::Everybody());
  policy.SetDefault(grpc::health::v1::HealthHandler::Table().name,
                    AllowList::Everybody());
  policy.SetDefault(v1::AdminHandler::Table().name,
                    AllowList().AllowUid(::geteuid()));
  return policy;
}

// What a server answers to Hello, but for the caller.
v1::HelloReply About(const ServerOptions& options) {
  v1::HelloReply about;
  about.set_framework_version(std::string(FrameworkVersion()));
  about.set_instance_id(options.instance_id);
  about.set_server(options.name);
  about.set_started_unix_nanos(absl::ToUnixNanos(absl::Now()));
  for (const Served& served : options.services) {
    v1::ServiceSchema& schema = *about.add_services();
    schema.set_name(std::string(served.info->name));
    schema.set_fingerprint(std::string(served.info->fingerprint));
  }
  for (const ServedGrpc& served : options.grpc_services) {
    about.add_services()->set_name(std::string(served.name));
  }
  about.mutable_limits()->set_max_request_bytes(options.max_message_bytes);
  about.mutable_limits()->set_max_reply_bytes(options.max_reply_bytes);
  about.mutable_limits()->set_max_calls_per_connection(
      options.max_calls_per_connection);
  return about;
}

// 0 where there is no limit.
std::uint64_t LimitMillis(absl::Duration timeout) {
  return timeout == absl::InfiniteDuration()
             ? 0
             : absl::ToInt64Milliseconds(timeout);
}

// What it answers to ServerStatus, but for what changes.
v1::ServerStatusReply AboutStatus(const ServerOptions& options) {
  v1::ServerStatusReply about;
  about.set_server(options.name);
  about.set_instance_id(options.instance_id);
  about.set_framework_version(std::string(FrameworkVersion()));
  about.set_started_unix_nanos(absl::ToUnixNanos(absl::Now()));
  about.set_pid(::getpid());
  about.set_uid(::geteuid());
  about.set_address(options.address);
  about.set_who_may_connect(options.access.WhoMayConnect());
  const std::pair<const char*, std::uint64_t> limits[] = {
      {"max_connections", options.max_connections},
      {"max_connections_per_uid", options.max_connections_per_uid},
      {"max_calls_per_connection", options.max_calls_per_connection},
      {"max_queued_calls", options.max_queued_calls},
      {"max_grpc_threads", options.max_grpc_threads},
      {"max_message_bytes", options.max_message_bytes},
      {"max_reply_bytes", options.max_reply_bytes},
      {"max_request_memory", options.max_request_memory},
      {"max_request_memory_per_uid", options.max_request_memory_per_uid},
      {"preface_timeout_ms", LimitMillis(options.preface_timeout)},
      {"idle_timeout_ms", LimitMillis(options.idle_timeout)},
      {"write_timeout_ms", LimitMillis(options.write_timeout)},
      {"read_timeout_ms", LimitMillis(options.read_timeout)}};
  for (const auto& [name, limit] : limits) {
    v1::LimitStatus& status = *about.add_limits();
    status.set_name(name);
    status.set_limit(limit);
  }
  return about;
}

// All that runs, in the order in which one part uses those before it.
//
// Ownership: shared by the server and the thread that stops it, which outlives
// the server when a handler does not come to an end.
class Serving {
 public:
  explicit Serving(const ServerOptions& options)
      : policy_(PolicyOf(options)),
        refusals_(options.address),
        guard_(policy_, options.max_calls_per_connection, refusals_),
        request_memory_(
            std::make_shared<MemoryBudget>(options.max_request_memory)),
        pool_(options.workers, options.max_queued_calls),
        session_(About(options)),
        health_(ServiceNames(options)),
        reflection_(ServiceNames(options)),
        reflection_alpha_(ServiceNames(options)),
        admin_(AboutStatus(options),
               {.connections = connections_,
                .refusals = refusals_,
                .request_memory = *request_memory_,
                .pool = pool_,
                // Nobody can ask before it is open.
                .counts = [this] { return door_->counts(); }}) {}

  absl::Status StartWires(const ServerOptions& options);
  // Returns the server's address.
  absl::StatusOr<std::string> OpenDoor(const ServerOptions& options);

  // Refuses connections and removes the socket; then new calls are refused, and
  // those in flight have until `deadline`. Blocks until all handlers are done.
  void Stop(absl::Time deadline);

  // What Stop() waits for, as far as is known.
  std::string WhatIsLeft() const;

  // FrontDoor's.
  int over_fd() const { return door_->over_fd(); }

 private:
  // What the server serves of its own, and what the program does.
  std::vector<Served> Services(const ServerOptions& options);

  const AccessPolicy policy_;
  RefusalLog refusals_;
  ConnectionTable connections_;
  const CallGuard guard_;
  const std::shared_ptr<MemoryBudget> request_memory_;
  WorkerPool pool_;
  SessionService session_;
  HealthService health_;
  ReflectionService reflection_;
  ReflectionAlphaService reflection_alpha_;
  AdminService admin_;
  std::unique_ptr<Poller> poller_;
  std::vector<std::unique_ptr<Wire>> own_wires_;
  // Those, and the program's.
  std::vector<Wire*> wires_;
  // One of the two.
  std::unique_ptr<UnixListener> listener_;
  HandedInSocket handed_in_;
  std::unique_ptr<FrontDoor> door_;
};

std::vector<Served> Serving::Services(const ServerOptions& options) {
  std::vector<Served> services = {Serve(session_), Serve(admin_),
                                  Serve(health_)};
  if (options.reflection) {
    services.push_back(Serve(reflection_));
    services.push_back(Serve(reflection_alpha_));
  }
  services.insert(services.end(), options.services.begin(),
                  options.services.end());
  return services;
}

absl::Status Serving::StartWires(const ServerOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(
      poller_, Poller::Start(options.poll_threads, options.poll_spin));
  if (options.grpc) {
    own_wires_.push_back(std::make_unique<GrpcWire>(
        GrpcWireOptions{.services = options.grpc_services,
                        .max_threads = options.max_grpc_threads,
                        .connections = &connections_}));
  }
  if (options.ttrpc) own_wires_.push_back(std::make_unique<TtrpcWire>());
  for (const auto& wire : own_wires_) wires_.push_back(wire.get());
  wires_.insert(wires_.end(), options.wires.begin(), options.wires.end());
  const WireParts parts = {
      .services = Services(options),
      .guard = &guard_,
      .refusals = &refusals_,
      .pool = &pool_,
      .poller = poller_.get(),
      .max_message_bytes = options.max_message_bytes,
      .max_reply_bytes = options.max_reply_bytes,
      .max_calls_per_connection = options.max_calls_per_connection};
  for (Wire* const wire : wires_) {
    TANDEM_RETURN_IF_ERROR(wire->Start(parts));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Serving::OpenDoor(const ServerOptions& options) {
  const FrontDoorOptions door_options{
      .access = policy_,
      .max_connections = options.max_connections,
      .max_connections_per_uid = options.max_connections_per_uid,
      .preface_timeout = options.preface_timeout,
      .idle_timeout = options.idle_timeout,
      .write_timeout = options.write_timeout,
      .read_timeout = options.read_timeout,
      .request_memory = request_memory_,
      .max_request_memory_per_uid = options.max_request_memory_per_uid};
  if (!IsHandedIn(options.address)) {
    TANDEM_ASSIGN_OR_RETURN(const UnixAddress address,
                            UnixAddress::Parse(options.address));
    TANDEM_ASSIGN_OR_RETURN(
        listener_, UnixListener::Listen(address, options.permissions,
                                        options.allow_shared_directory));
    TANDEM_ASSIGN_OR_RETURN(
        door_, FrontDoor::Open(listener_->fd(), door_options, connections_,
                               refusals_, wires_));
    return address.ToString();
  }
  TANDEM_ASSIGN_OR_RETURN(handed_in_, TakeHandedInSocket(options.address));
  if (handed_in_.is_listening) {
    TANDEM_ASSIGN_OR_RETURN(
        door_, FrontDoor::Open(handed_in_.fd.get(), door_options, connections_,
                               refusals_, wires_));
  } else {
    TANDEM_ASSIGN_OR_RETURN(
        door_, FrontDoor::OpenFor(std::move(handed_in_.fd), door_options,
                                  connections_, refusals_, wires_));
  }
  return handed_in_.address;
}

void Serving::Stop(absl::Time deadline) {
  door_->StopAccepting(deadline + kLastWords);
  if (listener_ != nullptr) listener_->Close();
  handed_in_.fd.Reset();
  health_.Stop();
  reflection_.Stop();
  reflection_alpha_.Stop();
  // All at once, for each waits for its calls.
  std::vector<std::thread> stopping;
  for (Wire* const wire : wires_) {
    stopping.emplace_back([wire, deadline] { wire->Stop(deadline); });
  }
  for (std::thread& thread : stopping) thread.join();
  pool_.Stop();
  poller_->Stop();
}

std::string Serving::WhatIsLeft() const {
  const int busy = pool_.connections();
  if (busy > 0) {
    return absl::StrCat("handlers of ", busy,
                        " connections do not end though their calls were "
                        "cancelled");
  }
  return "a call does not end though it was cancelled, and no worker runs its "
         "handler: a handler keeps it, or gRPC has not let go of it";
}

// Whether a Serving has stopped; outlives it.
class Stopped {
 public:
  void Set() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    is_set_ = true;
    mu_.NotifyAll();
  }
  // False when it is not set by `deadline`.
  bool Wait(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return mu_.AwaitUntil(deadline, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(
                                        mu_) { return is_set_; });
  }

 private:
  Mutex mu_;
  bool is_set_ ABSL_GUARDED_BY(mu_) = false;
};

class SocketServer final : public Server {
 public:
  SocketServer(std::string address, std::string instance_id,
               std::shared_ptr<Serving> serving)
      : address_(std::move(address)),
        instance_id_(std::move(instance_id)),
        serving_(std::move(serving)) {}

  ~SocketServer() override { Stop(absl::ZeroDuration()); }

  bool Stop(absl::Duration timeout) override ABSL_LOCKS_EXCLUDED(mu_);
  void WaitUntilOver(const Termination& termination) override;
  const std::string& address() const override { return address_; }
  const std::string& instance_id() const override { return instance_id_; }

 private:
  const std::string address_;
  const std::string instance_id_;
  // All but for a handler that hangs, this is the last to let go, so that the
  // destructor leaves nothing behind.
  const std::shared_ptr<Serving> serving_;
  const std::shared_ptr<Stopped> stopped_ = std::make_shared<Stopped>();

  Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

bool SocketServer::Stop(absl::Duration timeout) {
  // gRPC's clocks know no infinity.
  const absl::Time deadline =
      absl::Now() + std::min(timeout, absl::Hours(24 * 365));
  {
    MutexLock lock(mu_);
    if (!std::exchange(stopping_, true)) {
      // A thread of its own, since wires and the pool wait for every handler,
      // and we do not wait for one that hangs.
      std::thread([serving = serving_, stopped = stopped_, deadline]() mutable {
        serving->Stop(deadline);
        serving.reset();
        stopped->Set();
      }).detach();
    }
  }
  if (stopped_->Wait(deadline + kGrace)) return true;
  spdlog::error(
      "{}: {}; that is left behind, and the services must not be destroyed",
      address_, serving_->WhatIsLeft());
  return false;
}

void SocketServer::WaitUntilOver(const Termination& termination) {
  pollfd ends[] = {{termination.fd(), POLLIN, 0},
                   {serving_->over_fd(), POLLIN, 0}};
  while (::poll(ends, std::size(ends), -1) <= 0) {
  }
  if (ends[1].revents == 0) return;
  spdlog::info(
      "{}: the connection that was handed in has ended, and nothing is left to "
      "serve",
      address_);
}

}  // namespace

std::string NewInstanceId() {
  std::uint64_t random[2] = {};
  // Cannot fail for so few bytes.
  [[maybe_unused]] const int failed = ::getentropy(random, sizeof(random));
  return absl::StrFormat("%016x%016x", random[0], random[1]);
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options) {
  TANDEM_RETURN_IF_ERROR(CheckAddress(options));
  TANDEM_RETURN_IF_ERROR(CheckWires(options));
  TANDEM_RETURN_IF_ERROR(CheckLimits(options));
  TANDEM_RETURN_IF_ERROR(CheckServices(options));
  auto serving = std::make_shared<Serving>(options);
  TANDEM_RETURN_IF_ERROR(serving->StartWires(options));
  TANDEM_ASSIGN_OR_RETURN(std::string address, serving->OpenDoor(options));
  return std::make_unique<SocketServer>(std::move(address), options.instance_id,
                                        std::move(serving));
}

absl::Status Server::RunUntilSignal(absl::Duration timeout) {
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<Termination> signal,
                          Termination::Create());
  NotifyReady(absl::StrCat("listening on ", address()));
  WaitUntilOver(*signal);
  NotifyStopping();
  if (Stop(timeout)) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat(address(),
                   ": calls do not end: end the process, and do not "
                   "destroy the services"));
}

}  // namespace tandem::rpc

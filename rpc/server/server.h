// A process's server: one published unix socket, any number of services.

#ifndef TANDEM_RPC_SERVER_SERVER_H_
#define TANDEM_RPC_SERVER_SERVER_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/server/access_policy.h"
#include "rpc/socket/unix_listener.h"
#include "rpc/wire/grpc/serve_grpc.h"
#include "rpc/wire/method.h"

namespace tandem::rpc {

class Termination;
class Wire;

// Random, of 32 hexadecimal digits.
std::string NewInstanceId();

struct ServerOptions {
  // "unix:/run/kv/kv.sock"; or a socket that is handed in, "fd:3", "systemd:"
  // or "systemd:NAME" (rpc/socket/handed_in_socket.h). Where that is a
  // connection, it is all that is served: once it ends there is nothing left to
  // do but to stop (Server::WaitUntilOver).
  std::string address = {};
  // Mode and owner of the socket file. Not for a socket that is handed in.
  SocketPermissions permissions = {};
  // Why others may be trusted who can replace the socket, because they may
  // write to its directory or to one above. Empty: they are not, and the server
  // does not start.
  std::string allow_shared_directory = {};
  // Who may connect, and call what. Root is not special.
  AccessPolicy access = AccessPolicy::SameUser();
  // How clients may call: gRPC, ttrpc, and what the program brings itself. A
  // client's first bytes say which it speaks. The wires must outlive the
  // server, and are of this one alone.
  bool grpc = true;
  bool ttrpc = true;
  std::vector<Wire*> wires = {};
  // What is served. The handlers must outlive the server.
  std::vector<Served> services = {};
  // What else is served: services written for gRPC's own generated classes.
  std::vector<ServedGrpc> grpc_services = {};
  // Tells whoever may call what has no rule which services there are, and the
  // .proto files linked into this program (grpc.reflection), so that grpcurl
  // needs no files. Off: a library does not publish the schemas of the program
  // that uses it. Our own programs turn it on (ProgramOptions).
  bool reflection = false;
  // What Hello calls this program, such as "tandem-node 0.1.0".
  std::string name = {};
  // What Hello calls this run of it.
  std::string instance_id = NewInstanceId();

  // Threads that run handlers, and calls that may wait for one; a call that
  // finds the queue full is answered kResourceExhausted. Connections take
  // turns, and one may have half of the queue and all but a quarter of the
  // workers (rounded down: of fewer than four, all); its calls beyond that half
  // are answered kResourceExhausted.
  int workers = 8;
  int max_queued_calls = 1024;
  // Threads that read from connections that are not gRPC's; and for how long
  // they ask again and again before they sleep, which costs CPU and saves a
  // caller, who waits for each answer, a few microseconds.
  int poll_threads = 2;
  absl::Duration poll_spin = absl::ZeroDuration();
  // Threads for blocking handlers of grpc_services, which gRPC runs itself; a
  // call that finds none is answered kResourceExhausted.
  int max_grpc_threads = 256;

  // Limits. What goes beyond one is refused, counted and logged, and costs
  // nobody else (Admin.ServerStatus shows all of it).

  // A request or stream message larger than this is refused
  // (kResourceExhausted), once it has arrived. Where clients stream to one of
  // grpc_services gRPC does that, uncounted.
  std::size_t max_message_bytes = 64 << 20;
  // An answer or stream message that is larger is not sent: its call ends with
  // kResourceExhausted.
  std::size_t max_reply_bytes = 64 << 20;
  // Calls in flight on one connection, streams included; further ones are
  // answered kResourceExhausted. Who has as many and a thousand more refused at
  // once, whatever the reason, or gives them up before they are answered, and
  // then more than a thousand a second, loses the connection.
  int max_calls_per_connection = 4096;
  // What requests in flight may take, in total and of one uid; a call that
  // would need more is answered kResourceExhausted. Each has room for one
  // message at least. Small requests (below 16 KiB) are not counted.
  std::size_t max_request_memory = std::size_t{1} << 30;
  std::size_t max_request_memory_per_uid = std::size_t{512} << 20;
  // Connections in total and per uid; further ones are closed.
  int max_connections = 1024;
  int max_connections_per_uid = 256;
  // How long a client may take, from its first byte on, to say what it speaks:
  // for 24 bytes at most.
  absl::Duration preface_timeout = absl::Seconds(5);
  // How long a connection may be without a call, or a first byte; then it is
  // closed, once its client has sent nothing for 5 s too (or for this time,
  // where it is shorter), since a unary call counts when all of its request is
  // there. Off: an idle client costs little and counts against the limits
  // above, one that is dead is noticed, and for a client with state (Session) a
  // closed connection is a restarted server. The node of a pair that nobody
  // uses would be such a client.
  absl::Duration idle_timeout = absl::InfiniteDuration();
  // How long a client may take for an answer, or for the next message of a
  // stream, before its call is ended (kCancelled); when it does not read even
  // that, its connection is ended after as long again. Until then each stream
  // has up to 256 KiB and a message waiting; a handler's thread waits for none
  // of it (Writer::Write never blocks).
  absl::Duration write_timeout = absl::Minutes(1);
  // How long a handler of `services` may be blocked in Reader::Read() until the
  // client has sent the next message, all of it; then the call is ended
  // (kCancelled), and Read() returns false. So silent clients hold no worker
  // for longer. Handlers that read by callback hold none, and may wait for as
  // long as they like. Nor is it for grpc_services: their blocking handlers
  // hold threads of gRPC (max_grpc_threads), and give up by themselves.
  absl::Duration read_timeout = absl::Minutes(1);
};

// Serves until stopped.
//
// Every server also answers Hello (tandem/rpc/v1/session.proto) and the
// standard health check (grpc.health.v1), for whoever may connect, and Admin
// (admin.proto), for its own uid. Rules for these services in
// ServerOptions::access change that. Health is always there because it tells
// nothing that a call would not: that calls are taken, or the server is
// stopping.
//
// Lifecycle: Start() returns once clients can connect. The destructor stops as
// Stop(absl::ZeroDuration()) does. A handler that has not ended a second after
// its call was cancelled is left behind, with an error in the log, rather than
// waited for: then the process should end without destroying the services.
//
// Thread safety: thread-safe.
class Server {
 public:
  // Errors: those of UnixListener::Listen or TakeHandedInSocket;
  // kInvalidArgument (address, options, a service twice, an access rule for
  // what is not served); those of Wire::Start(): kInvalidArgument for what
  // ServeGrpc() cannot serve, kInternal when gRPC does not keep what we rely
  // on.
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options);

  virtual ~Server() = default;

  // Refuses new connections and calls, removes the socket, waits for calls in
  // flight for at most `timeout`, then cancels them, and gives their handlers a
  // second to end. A later call waits for the first, within its own timeout.
  // False: a handler goes on, or gRPC keeps a call (the log says which). Then
  // the services must not be destroyed: end the process (std::_Exit).
  virtual bool Stop(absl::Duration timeout) = 0;

  // Waits for the signal, or, where the address is a connection that was handed
  // in, until that has ended, which is logged: then it is time to stop.
  virtual void WaitUntilOver(const Termination& termination) = 0;

  // WaitUntilOver() for SIGTERM or SIGINT, then stops as Stop() does, and tells
  // the service manager of both (rpc/server/notify.h). For programs with one
  // server and nothing else to stop; others use Termination. Errors: those of
  // Termination::Create(); kDeadlineExceeded where Stop() says false.
  absl::Status RunUntilSignal(absl::Duration timeout);

  // Where clients connect, such as "unix:/run/kv/kv.sock"; "fd:3" when that is
  // all that is known of a socket that was handed in.
  virtual const std::string& address() const = 0;
  // As in the options.
  virtual const std::string& instance_id() const = 0;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_SERVER_H_

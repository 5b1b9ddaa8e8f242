#include "rpc/server/hand_over_check.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unique_fd.h"

namespace tandem::rpc {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(30);
// After the client's end was noticed: for a gRPC that closes then.
constexpr absl::Duration kTimeToClose = absl::Milliseconds(2);

// A call whose handler waits until it is told to answer.
class HeldCall final : public grpc::ServerGenericBidiReactor {
 public:
  explicit HeldCall(std::string peer) : peer_(std::move(peer)) {}

  const std::string& peer() const { return peer_; }

  bool WaitForCancel() {
    MutexLock lock(mu_);
    return mu_.AwaitFor(kLimit, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return cancelled_;
    });
  }

  void OnCancel() override {
    MutexLock lock(mu_);
    cancelled_ = true;
    mu_.NotifyAll();
  }
  void OnDone() override { delete this; }

 private:
  const std::string peer_;
  Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
};

// Takes every method, and shows the first call.
class HoldingService final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    auto* call = new HeldCall(context->peer());
    MutexLock lock(mu_);
    call_ = call;
    mu_.NotifyAll();
    return call;
  }

  // Null when none came.
  HeldCall* WaitForCall() {
    MutexLock lock(mu_);
    mu_.AwaitFor(kLimit, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return call_ != nullptr;
    });
    return call_;
  }

 private:
  Mutex mu_;
  HeldCall* call_ ABSL_GUARDED_BY(mu_) = nullptr;
};

// The client's side of one call, and its end.
class OneCall {
 public:
  explicit OneCall(int fd)
      : stub_(grpc::CreateInsecureChannelFromFd("hand-over-check", fd)) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kLimit));
    stub_.UnaryCall(&context_, "/tandem.HandOver/Check", {}, &request_, &reply_,
                    [this](const grpc::Status&) { End(); });
  }
  ~OneCall() {
    context_.TryCancel();
    MutexLock lock(mu_);
    mu_.Await([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return ended_; });
  }

 private:
  void End() {
    MutexLock lock(mu_);
    ended_ = true;
    mu_.NotifyAll();
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  const grpc::Slice nothing_;
  // Without any slice, gRPC takes it for no message, and aborts.
  const grpc::ByteBuffer request_{&nothing_, 1};
  grpc::ByteBuffer reply_;
  Mutex mu_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

absl::Status Broken(std::string_view what) {
  return absl::InternalError(
      absl::StrCat("callers cannot be told apart over gRPC ", grpc::Version(),
                   ": ", std::string(what)));
}

// Which socket `fd` is; 0 when it is none.
ino_t SocketBehind(int fd) {
  struct stat info;
  return ::fstat(fd, &info) == 0 ? info.st_ino : 0;
}

absl::Status CheckCall(HoldingService& service, int fd, int client) {
  const ino_t socket = SocketBehind(fd);
  HeldCall* const call = service.WaitForCall();
  if (call == nullptr) return Broken("a descriptor given to it is not served");
  absl::Status status;
  if (call->peer() != absl::StrCat("fd:", fd)) {
    status = Broken(absl::StrCat("it calls the peer behind descriptor ", fd,
                                 " \"", call->peer(), "\""));
  }
  ::shutdown(client, SHUT_RDWR);
  if (!call->WaitForCancel()) {
    status.Update(Broken("a handler is not told that its client has left"));
  }
  absl::SleepFor(kTimeToClose);
  if (SocketBehind(fd) != socket) {
    status.Update(
        Broken("it closes a connection whose handler is still running"));
  }
  call->Finish(grpc::Status::OK);
  return status;
}

}  // namespace

absl::Status CheckHandOver() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                   pair) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair");
  }
  UniqueFd client(pair[0]);
  UniqueFd served(pair[1]);
  // To end the connection by: gRPC owns the client's own descriptor.
  const UniqueFd hang_up(::fcntl(client.get(), F_DUPFD_CLOEXEC, 0));
  if (!hang_up.is_valid()) return absl::ErrnoToStatus(errno, "dup");

  HoldingService service;
  grpc::ServerBuilder builder;
  builder.RegisterCallbackGenericService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return Broken("it does not start a server");
  const int fd = served.Release();
  grpc::AddInsecureChannelFromFd(server.get(), fd);
  absl::Status status;
  {
    const OneCall call(client.Release());
    status = CheckCall(service, fd, hang_up.get());
  }
  server->Shutdown(absl::ToChronoTime(absl::Now()));
  return status;
}

}  // namespace tandem::rpc

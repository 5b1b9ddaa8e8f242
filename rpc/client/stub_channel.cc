#include "rpc/client/stub_channel.h"

#include <grpc/grpc.h>
#include <grpcpp/alarm.h>
#include <grpcpp/channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/client_unary_call.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rpc/base/mutex.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/version.h"
#include "rpc/client/backoff.h"
#include "rpc/client/connection.h"
#include "rpc/socket/unix_address.h"
#include "rpc/wire/grpc/callback_threads.h"
#include "rpc/wire/grpc/grpc_transport.h"

namespace tandem::rpc {

struct StubAccess;

}  // namespace tandem::rpc

// Of gRPC's friends, one that is ours: it may begin calls on a channel.
template <>
class grpc::internal::BlockingUnaryCallImpl<tandem::rpc::StubAccess,
                                            tandem::rpc::StubAccess> {
 public:
  static Call CreateCall(ChannelInterface& channel, const RpcMethod& method,
                         ClientContext* context, CompletionQueue* queue) {
    return channel.CreateCall(method, context, queue);
  }
  static CompletionQueue* CallbackQueue(ChannelInterface& channel) {
    return channel.CallbackCQ();
  }
};

namespace tandem::rpc {
namespace {

using Access = grpc::internal::BlockingUnaryCallImpl<StubAccess, StubAccess>;

// A channel on which every call ends with this error.
std::shared_ptr<grpc::Channel> FailedChannel(const absl::Status& status) {
  return grpc::CreateChannelInternal(
      "",
      grpc_lame_client_channel_create(
          "", static_cast<grpc_status_code>(status.code()),
          std::string(status.message()).c_str()),
      {});
}

absl::Time ToTime(gpr_timespec time) {
  time = gpr_convert_clock_type(time, GPR_CLOCK_REALTIME);
  if (gpr_time_cmp(time, gpr_inf_future(GPR_CLOCK_REALTIME)) == 0) {
    return absl::InfiniteFuture();
  }
  return absl::FromUnixSeconds(time.tv_sec) + absl::Nanoseconds(time.tv_nsec);
}

// Begins each call on the connection of the moment. From then on the call
// belongs to that connection's channel, and this one has no part in it.
class ForwardingChannel : public grpc::ChannelInterface {
 protected:
  // The channel for the next call; never null. Does not wait.
  virtual std::shared_ptr<grpc::Channel> Target() = 0;

 private:
  grpc::internal::Call CreateCall(const grpc::internal::RpcMethod& method,
                                  grpc::ClientContext* context,
                                  grpc::CompletionQueue* queue) override {
    return Access::CreateCall(*Target(), method, context, queue);
  }
  // The same queue whatever the channel, and for ever: KeepCallbackThreads().
  grpc::CompletionQueue* CallbackCQ() override {
    return Access::CallbackQueue(*any_);
  }
  // Null: calls name their method, which suits every connection.
  void* RegisterMethod(const char*) override { return nullptr; }
  // Asked of the channel that a call belongs to, which is never this one.
  void PerformOpsOnCall(grpc::internal::CallOpSetInterface*,
                        grpc::internal::Call*) override {}
  void NotifyOnStateChangeImpl(grpc_connectivity_state, gpr_timespec deadline,
                               grpc::CompletionQueue* queue,
                               void* tag) override {
    // An alarm that is gone tells its queue so.
    grpc::Alarm().Set(queue, deadline, tag);
  }

  const std::shared_ptr<grpc::Channel> any_ =
      FailedChannel(absl::UnavailableError("no server"));
};

class StubChannel final : public ForwardingChannel {
 public:
  StubChannel(const UnixAddress& address, const ChannelOptions& options)
      : address_(address),
        options_{.server_uid = options.server_uid.value_or(::geteuid()),
                 .allow_shared_directory = options.allow_shared_directory,
                 .max_message_bytes = options.max_message_bytes,
                 .wire = ClientWire::kGrpc,
                 .spin = {},
                 .hello = {}} {
    options_.hello.set_framework_version(std::string(FrameworkVersion()));
  }

  grpc_connectivity_state GetState(bool try_to_connect) override
      ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    if (try_to_connect && !Connect().ok()) {
      return GRPC_CHANNEL_TRANSIENT_FAILURE;
    }
    if (current_ == nullptr || current_->transport().is_over()) {
      return GRPC_CHANNEL_IDLE;
    }
    return current_->is_answered() ? GRPC_CHANNEL_READY
                                   : GRPC_CHANNEL_CONNECTING;
  }

 private:
  std::shared_ptr<grpc::Channel> Target() override ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    const absl::Status connected = Connect();
    if (!connected.ok()) return FailedChannel(connected);
    // Its connections are all over gRPC.
    return static_cast<GrpcTransport&>(current_->transport()).channel();
  }

  bool WaitForStateChangeImpl(grpc_connectivity_state last_observed,
                              gpr_timespec deadline) override {
    const absl::Time end = ToTime(deadline);
    Backoff backoff;
    while (GetState(true) == last_observed) {
      const absl::Duration left = end - absl::Now();
      if (left <= absl::ZeroDuration()) return false;
      absl::SleepFor(std::min(backoff.Next(), left));
    }
    return true;
  }

  // Has `current_` be a connection, if only to all appearances.
  absl::Status Connect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (current_ != nullptr && !current_->transport().is_over()) {
      return absl::OkStatus();
    }
    if (current_ != nullptr) {
      // A server that closes on us without an answer is left alone for a while.
      if (current_->is_answered()) {
        backoff_.Reset();
      } else {
        not_before_ = absl::Now() + backoff_.Next();
      }
      current_ = nullptr;
    }
    if (absl::Now() < not_before_) {
      return absl::UnavailableError(absl::StrCat(
          "the server at ", address_.path(),
          " closed our last connection without an answer: it is stopping, or "
          "uid ",
          ::geteuid(), " is not let in, or there are too many connections"));
    }
    TANDEM_ASSIGN_OR_RETURN(
        current_, Connection::Open(address_, options_, absl::InfinitePast()));
    return absl::OkStatus();
  }

  const UnixAddress address_;
  ConnectionOptions options_;

  // Held while a connection is made, which is a matter of microseconds. Outer
  // to the locks of connections.
  Mutex mu_;
  std::shared_ptr<Connection> current_ ABSL_GUARDED_BY(mu_);
  Backoff backoff_ ABSL_GUARDED_BY(mu_);
  absl::Time not_before_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

// Refuses every call, in words that are found again.
class RefusingChannel final : public ForwardingChannel {
 public:
  static constexpr char kWords[] = "refused to try gRPC out";

  grpc_connectivity_state GetState(bool) override { return GRPC_CHANNEL_IDLE; }

 private:
  std::shared_ptr<grpc::Channel> Target() override {
    return FailedChannel(absl::DataLossError(kWords));
  }
  bool WaitForStateChangeImpl(grpc_connectivity_state, gpr_timespec) override {
    return false;
  }
};

// Whether calls that are begun on one channel are carried by another, with the
// queue of a third.
absl::Status CheckForwarding() {
  KeepCallbackThreads();
  const auto one = FailedChannel(absl::UnavailableError("one"));
  const auto other = FailedChannel(absl::UnavailableError("other"));
  if (Access::CallbackQueue(*one) != Access::CallbackQueue(*other)) {
    return absl::InternalError(absl::StrCat(
        "stubs cannot be kept across connections over gRPC ", grpc::Version(),
        ": its channels have callback threads of their own"));
  }
  grpc::GenericStub stub(std::make_shared<RefusingChannel>());
  grpc::ClientContext context;
  const grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer reply;
  Mutex mu;
  bool is_over = false;
  grpc::Status end;
  stub.UnaryCall(&context, "/tandem.Stub/Check", {}, &request, &reply,
                 [&](const grpc::Status& status) {
                   MutexLock lock(mu);
                   end = status;
                   is_over = true;
                   mu.NotifyAll();
                 });
  MutexLock lock(mu);
  mu.Await([&] { return is_over; });
  if (end.error_code() == grpc::StatusCode::DATA_LOSS &&
      end.error_message() == RefusingChannel::kWords) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat(
      "stubs cannot be kept across connections over gRPC ", grpc::Version(),
      ": a call that was handed on ends with \"", end.error_message(), "\""));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ChannelInterface>> NewStubChannel(
    std::string_view address, const ChannelOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(const UnixAddress parsed,
                          UnixAddress::Parse(address));
  // Once is enough: the library does not change while we run.
  static const absl::Status* const forwarding =
      new absl::Status(CheckForwarding());
  TANDEM_RETURN_IF_ERROR(*forwarding);
  return std::make_shared<StubChannel>(parsed, options);
}

}  // namespace tandem::rpc

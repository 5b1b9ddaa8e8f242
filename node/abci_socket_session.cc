#include "node/abci_socket_session.h"

#include <array>
#include <atomic>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "node/abci_socket_lane.h"
#include "proto/abci/socket_call.h"
#include "rpc/base/mutex.h"
#include "rpc/base/status_macros.h"
#include "rpc/client/failed_stream.h"
#include "rpc/socket/dial.h"
#include "rpc/socket/peer_credentials.h"
#include "rpc/wire/frames/poller.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::node {
namespace {

using google::protobuf::MessageLite;
using rpc::MutexLock;
using tendermint::abci::Request;

enum Lane : std::uint8_t { kConsensus, kTransactions, kQueries, kLanes };

Lane LaneOf(const abci::SocketCall& call) {
  switch (call.request_member) {
    case Request::kCheckTxFieldNumber:
    case Request::kInsertTxFieldNumber:
    case Request::kReapTxsFieldNumber:
      return kTransactions;
    case Request::kEchoFieldNumber:
    case Request::kFlushFieldNumber:
    case Request::kQueryFieldNumber:
    case Request::kListSnapshotsFieldNumber:
    case Request::kLoadSnapshotChunkFieldNumber:
      return kQueries;
    default:
      return kConsensus;
  }
}

absl::Status IsOtherService(const rpc::Method& method) {
  return absl::UnimplementedError(absl::StrCat(
      method.path, ": the ABCI socket protocol carries no other service"));
}

class AbciSocketSession final : public rpc::Session {
 public:
  AbciSocketSession() = default;
  ~AbciSocketSession() override {
    Close();
    if (thread_ != nullptr) thread_->Stop();
  }

  absl::Status Open(const rpc::UnixAddress& address,
                    const AbciSocketOptions& options, absl::Time deadline);

  void Start(rpc::ClientCall* call, const MessageLite& request,
             const rpc::CallOptions& options) override {
    const abci::SocketCall* const kind = abci::SocketCallOf(*call->method);
    if (kind != nullptr) {
      return lanes_.at(LaneOf(*kind))->Start(call, *kind, request, options);
    }
    call->status = IsOtherService(*call->method);
    call->done(call);
  }
  std::shared_ptr<rpc::ClientStream> Open(
      const rpc::Method& method, const MessageLite* request,
      const rpc::CallOptions& options) override {
    return rpc::FailedStream(IsOtherService(method));
  }

  const absl::StatusOr<rpc::v1::HelloReply>& hello() const override {
    return hello_;
  }
  pid_t server_pid() const override { return server_pid_; }
  bool is_over() const override { return is_over_.load(); }
  bool WaitOver(absl::Duration timeout) const override
      ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    return mu_.AwaitFor(timeout, [this] { return is_over_.load(); });
  }
  void Close() override {
    for (const auto& lane : lanes_) {
      if (lane != nullptr) lane->Close("the node closed it");
    }
  }

 private:
  // With one lane gone, the others go as well.
  void OnOver() ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(mu_);
      is_over_ = true;
      mu_.NotifyAll();
    }
    Close();
  }

  const absl::StatusOr<rpc::v1::HelloReply> hello_ =
      absl::UnimplementedError("the ABCI socket protocol has no Hello");
  pid_t server_pid_ = 0;
  std::unique_ptr<rpc::PollThread> thread_;
  std::array<std::shared_ptr<AbciSocketLane>, kLanes> lanes_;

  std::atomic<bool> is_over_{false};
  mutable rpc::Mutex mu_;  // to wait for is_over_
};

absl::Status AbciSocketSession::Open(const rpc::UnixAddress& address,
                                     const AbciSocketOptions& options,
                                     absl::Time deadline) {
  TANDEM_ASSIGN_OR_RETURN(thread_,
                          rpc::PollThread::Start(absl::ZeroDuration()));
  for (std::shared_ptr<AbciSocketLane>& lane : lanes_) {
    TANDEM_ASSIGN_OR_RETURN(rpc::UniqueFd connection,
                            rpc::Dial(address, options.server_uid, deadline,
                                      options.allow_shared_directory));
    const absl::StatusOr<rpc::PeerCredentials> server =
        rpc::PeerCredentialsOf(connection.get());
    if (server.ok()) server_pid_ = server->pid;
    lane = std::make_shared<AbciSocketLane>(
        std::move(connection), *thread_,
        AbciSocketLane::Options{.peer = address.ToString(),
                                .max_message_bytes = options.max_message_bytes,
                                .on_over = [this] { OnOver(); }});
  }
  // Not before all are there: one that ends closes the others.
  for (const std::shared_ptr<AbciSocketLane>& lane : lanes_) {
    TANDEM_RETURN_IF_ERROR(lane->Begin());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<rpc::Session>> OpenAbciSocketSession(
    const rpc::UnixAddress& address, const AbciSocketOptions& options,
    absl::Duration timeout) {
  auto session = std::make_unique<AbciSocketSession>();
  TANDEM_RETURN_IF_ERROR(
      session->Open(address, options, absl::Now() + timeout));
  return session;
}

}  // namespace tandem::node

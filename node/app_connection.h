// The node's side of the app contract, with a deadline for each call.

#ifndef TANDEM_NODE_APP_CONNECTION_H_
#define TANDEM_NODE_APP_CONNECTION_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "node/calls_in_flight.h"
#include "proto/abci/call_recorder.h"
#include "rpc/client/session.h"
#include "tendermint/abci/types.pb.h"
#include "tendermint/abci/types.tandem.h"

namespace tandem::node {

// How long the node waits for the application. An application that needs longer
// is taken for broken: the node makes no more blocks with it until it has been
// restarted.
inline constexpr absl::Duration kConnectTimeout = absl::Seconds(5);
inline constexpr absl::Duration kInfoTimeout = absl::Seconds(10);
inline constexpr absl::Duration kInitChainTimeout = absl::Minutes(10);
inline constexpr absl::Duration kProposalTimeout = absl::Minutes(1);
inline constexpr absl::Duration kFinalizeTimeout = absl::Minutes(10);
inline constexpr absl::Duration kCommitTimeout = absl::Minutes(10);
inline constexpr absl::Duration kCheckTxTimeout = absl::Seconds(10);
inline constexpr absl::Duration kQueryTimeout = absl::Seconds(10);
// A server that stops refuses calls before its connections end: a call that
// failed as if it were away is taken for refused when it is there after so
// long.
inline constexpr absl::Duration kPartingTime = absl::Seconds(2);

// Connects to the application once and says Hello, within a time. How it does
// so is the wire's affair. Errors as rpc::Channel::OpenSession.
using AppDialer = std::function<absl::StatusOr<std::unique_ptr<rpc::Session>>(
    absl::Duration timeout)>;

// One live connection to one instance of the application. It never reconnects:
// who makes a new one compares states first (node/recovery.h).
//
// The lanes: consensus calls (all that return their answer here) are made one
// at a time, by one thread; CheckTx and Query are asynchronous, any number at
// once. No CheckTx is in flight while a block is executed: Mempool sees to
// that.
//
// Errors, with the call's name in front. Of consensus calls:
//   kUnavailable         the connection ended; or Info, which changes nothing,
//                        took too long: ask again over another connection
//   kDeadlineExceeded    another call took too long
//   kFailedPrecondition  all else that a call over a live connection fails
//   with,
//                        named in the message: mostly the application refused
// Of CheckTx and Query: those of rpc::Transport, and what the application
// refuses with.
// Lifecycle: destroy after every CheckTx and Query has ended; Close() makes
// them. Thread safety: thread-safe.
class AppConnection {
 public:
  template <typename Response>
  using Done = std::function<void(absl::StatusOr<Response>)>;

  // `recorder`, which may be null and outlives this, is told of each call.
  explicit AppConnection(std::unique_ptr<rpc::Session> session,
                         abci::CallRecorder* recorder = nullptr);
  ~AppConnection();

  // What the application said to Hello; kUnimplemented when it is not built on
  // Tandem.
  const absl::StatusOr<rpc::v1::HelloReply>& hello() const {
    return session_->hello();
  }

  absl::StatusOr<tendermint::abci::ResponseInfo> Info();
  absl::StatusOr<tendermint::abci::ResponseInitChain> InitChain(
      const tendermint::abci::RequestInitChain& request);
  absl::StatusOr<tendermint::abci::ResponsePrepareProposal> PrepareProposal(
      const tendermint::abci::RequestPrepareProposal& request);
  absl::StatusOr<tendermint::abci::ResponseProcessProposal> ProcessProposal(
      const tendermint::abci::RequestProcessProposal& request);
  absl::StatusOr<tendermint::abci::ResponseFinalizeBlock> FinalizeBlock(
      const tendermint::abci::RequestFinalizeBlock& request);
  // The same, but returns the bytes of the answer, for who knows what they
  // should be. They may be no ResponseFinalizeBlock.
  absl::StatusOr<std::string> FinalizeBlockUnread(
      const tendermint::abci::RequestFinalizeBlock& request);
  absl::StatusOr<tendermint::abci::ResponseCommit> Commit();

  // `done` runs once, on any thread, maybe before these return.
  void CheckTx(const tendermint::abci::RequestCheckTx& request,
               Done<tendermint::abci::ResponseCheckTx> done);
  void Query(const tendermint::abci::RequestQuery& request,
             absl::Duration timeout,
             Done<tendermint::abci::ResponseQuery> done);

  // As rpc::Session's.
  pid_t server_pid() const { return session_->server_pid(); }

  // What the application has not answered yet.
  const CallsInFlight& calls_in_flight() const { return calls_; }

  // True once the connection has ended.
  bool is_over() const { return session_->is_over(); }
  // Waits until it has, or for `timeout`; returns is_over().
  bool WaitOver(absl::Duration timeout) const {
    return session_->WaitOver(timeout);
  }
  // Ends it, and all calls in flight.
  void Close() { session_->Close(); }

 private:
  // Makes a consensus call, by `call`, and judges its answer.
  template <typename Request, typename Call>
  auto Made(CallsInFlight::Method method, const Request& request, Call call);

  // Begins another call. What it returns takes its answer, and gives `done` the
  // same with the call's name in front of an error.
  template <typename Request, typename Response>
  Done<Response> Begun(CallsInFlight::Method method, const Request& request,
                       Done<Response> done);

  // What a consensus call's `answer` means, when it is an error.
  template <typename Response>
  absl::StatusOr<Response> Judged(CallsInFlight::Method method,
                                  absl::StatusOr<Response> answer) const;

  const std::unique_ptr<rpc::Session> session_;
  tendermint::abci::ABCIClient client_;
  CallsInFlight calls_;
  abci::CallRecorder* const recorder_;
  const std::uint64_t number_;  // of the connection; 0 when nobody records
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_APP_CONNECTION_H_

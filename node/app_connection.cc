#include "node/app_connection.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "node/unread.pb.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/version.h"
#include "rpc/client/call.h"
#include "rpc/wire/method.h"

namespace tandem::node {
namespace {

using store::Unread;
using tendermint::abci::ResponseCheckTx;
using tendermint::abci::ResponseCommit;
using tendermint::abci::ResponseFinalizeBlock;
using tendermint::abci::ResponseInfo;
using tendermint::abci::ResponseInitChain;
using tendermint::abci::ResponsePrepareProposal;
using tendermint::abci::ResponseProcessProposal;
using tendermint::abci::ResponseQuery;

// What a CometBFT node of our protocol versions says of itself.
constexpr int kBlockProtocol = 11;
constexpr int kPeerProtocol = 8;
constexpr char kAbciVersion[] = "2.0.0";

// A call in flight, until the end of its scope.
class Waiting {
 public:
  Waiting(CallsInFlight& calls, CallsInFlight::Method method)
      : calls_(calls), method_(method) {
    calls_.Begin(method_);
  }
  ~Waiting() { calls_.End(method_); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  CallsInFlight& calls_;
  const CallsInFlight::Method method_;
};

// `answer`, with the call's name in front of an error.
template <typename Response>
absl::StatusOr<Response> Named(CallsInFlight::Method method,
                               absl::StatusOr<Response> answer) {
  if (answer.ok()) return answer;
  return absl::Status(answer.status().code(),
                      absl::StrCat("the application's ",
                                   std::string(CallsInFlight::NameOf(method)),
                                   " failed: ", answer.status().message()));
}

const rpc::Method& FinalizeBlockMethod() {
  static const rpc::Method* const method =
      &*std::ranges::find(tendermint::abci::ABCIHandler::Table().methods,
                          "FinalizeBlock", &rpc::Method::name);
  return *method;
}

// An answer as it is recorded.
template <typename Response>
const absl::StatusOr<Response>& Read(const absl::StatusOr<Response>& answer) {
  return answer;
}
absl::StatusOr<ResponseFinalizeBlock> Read(
    const absl::StatusOr<Unread>& answer) {
  if (!answer.ok()) return answer.status();
  ResponseFinalizeBlock read;
  if (read.ParseFromString(answer->SerializeAsString())) return read;
  return absl::InvalidArgumentError("no ResponseFinalizeBlock");
}

}  // namespace

AppConnection::AppConnection(std::unique_ptr<rpc::Session> session,
                             abci::CallRecorder* recorder)
    : session_(std::move(session)),
      client_(*session_),
      recorder_(recorder),
      number_(recorder == nullptr ? 0 : recorder->Connected()) {}

AppConnection::~AppConnection() {
  if (recorder_ != nullptr) recorder_->Disconnected(number_);
}

template <typename Request, typename Call>
auto AppConnection::Made(CallsInFlight::Method method, const Request& request,
                         Call call) {
  const Waiting waiting(calls_, method);
  const std::uint64_t number =
      recorder_ == nullptr ? 0 : recorder_->Began(number_, request);
  auto answer = call();
  if (recorder_ != nullptr) recorder_->Ended(number, Read(answer));
  return Judged(method, std::move(answer));
}

template <typename Request, typename Response>
AppConnection::Done<Response> AppConnection::Begun(CallsInFlight::Method method,
                                                   const Request& request,
                                                   Done<Response> done) {
  calls_.Begin(method);
  const std::uint64_t number =
      recorder_ == nullptr ? 0 : recorder_->Began(number_, request);
  return [this, method, number,
          done = std::move(done)](absl::StatusOr<Response> answer) {
    calls_.End(method);
    answer = Named(method, std::move(answer));
    if (recorder_ != nullptr) recorder_->Ended(number, answer);
    done(std::move(answer));
  };
}

// No code of the application's is kept: it could be taken for one of ours.
template <typename Response>
absl::StatusOr<Response> AppConnection::Judged(
    CallsInFlight::Method method, absl::StatusOr<Response> answer) const {
  if (answer.ok()) return answer;
  const absl::Status why = Named(method, std::move(answer)).status();
  if (absl::IsUnavailable(why) || absl::IsCancelled(why)) {
    session_->WaitOver(kPartingTime);
  }
  // An application may refuse, and close the connection for that.
  if (session_->is_over() && !absl::IsFailedPrecondition(why)) {
    return absl::UnavailableError(why.message());
  }
  if (absl::IsDeadlineExceeded(why)) return why;
  return absl::FailedPreconditionError(absl::StrCat(
      why.message(), " (", absl::StatusCodeToString(why.code()), ")"));
}

absl::StatusOr<ResponseInfo> AppConnection::Info() {
  tendermint::abci::RequestInfo request;
  request.set_version(std::string(rpc::FrameworkVersion()));
  request.set_block_version(kBlockProtocol);
  request.set_p2p_version(kPeerProtocol);
  request.set_abci_version(kAbciVersion);
  absl::StatusOr<ResponseInfo> info = Made(CallsInFlight::kInfo, request, [&] {
    return client_.Info(request, {.timeout = kInfoTimeout});
  });
  if (!absl::IsDeadlineExceeded(info.status())) return info;
  return absl::UnavailableError(info.status().message());
}

absl::StatusOr<ResponseInitChain> AppConnection::InitChain(
    const tendermint::abci::RequestInitChain& request) {
  return Made(CallsInFlight::kInitChain, request, [&] {
    return client_.InitChain(request, {.timeout = kInitChainTimeout});
  });
}

absl::StatusOr<ResponsePrepareProposal> AppConnection::PrepareProposal(
    const tendermint::abci::RequestPrepareProposal& request) {
  return Made(CallsInFlight::kPrepareProposal, request, [&] {
    return client_.PrepareProposal(request, {.timeout = kProposalTimeout});
  });
}

absl::StatusOr<ResponseProcessProposal> AppConnection::ProcessProposal(
    const tendermint::abci::RequestProcessProposal& request) {
  return Made(CallsInFlight::kProcessProposal, request, [&] {
    return client_.ProcessProposal(request, {.timeout = kProposalTimeout});
  });
}

absl::StatusOr<ResponseFinalizeBlock> AppConnection::FinalizeBlock(
    const tendermint::abci::RequestFinalizeBlock& request) {
  return Made(CallsInFlight::kFinalizeBlock, request, [&] {
    return client_.FinalizeBlock(request, {.timeout = kFinalizeTimeout});
  });
}

absl::StatusOr<std::string> AppConnection::FinalizeBlockUnread(
    const tendermint::abci::RequestFinalizeBlock& request) {
  TANDEM_ASSIGN_OR_RETURN(
      const Unread answer, Made(CallsInFlight::kFinalizeBlock, request, [&] {
        return rpc::CallAndWait<Unread>(*session_, FinalizeBlockMethod(),
                                        request, {.timeout = kFinalizeTimeout});
      }));
  return answer.SerializeAsString();
}

absl::StatusOr<ResponseCommit> AppConnection::Commit() {
  const tendermint::abci::RequestCommit request;
  return Made(CallsInFlight::kCommit, request, [&] {
    return client_.Commit(request, {.timeout = kCommitTimeout});
  });
}

void AppConnection::CheckTx(const tendermint::abci::RequestCheckTx& request,
                            Done<ResponseCheckTx> done) {
  client_.CheckTx(request, {.timeout = kCheckTxTimeout},
                  Begun(CallsInFlight::kCheckTx, request, std::move(done)));
}

void AppConnection::Query(const tendermint::abci::RequestQuery& request,
                          absl::Duration timeout, Done<ResponseQuery> done) {
  client_.Query(request, {.timeout = std::min(timeout, kQueryTimeout)},
                Begun(CallsInFlight::kQuery, request, std::move(done)));
}

}  // namespace tandem::node

#include "tests/node/fake_app.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "rpc/base/sha256.h"

namespace tandem::node {

using rpc::MutexLock;
namespace abci = tendermint::abci;

std::string FakeApp::State::Hash() const {
  return height == 0 ? "" : rpc::Sha256(absl::StrJoin(txs, "\n"));
}

void FakeApp::FailBefore(const std::string& call, absl::Status with) {
  MutexLock lock(mu_);
  fail_before_[call] = std::move(with);
}

void FakeApp::FailAfter(const std::string& call, absl::Status with) {
  MutexLock lock(mu_);
  fail_after_[call] = std::move(with);
}

absl::Status FakeApp::Enter(const std::string& call,
                            const std::string& details) {
  trace_.push_back(absl::StrCat(call, details.empty() ? "" : " ", details));
  return Take(fail_before_, call);
}

absl::Status FakeApp::Leave(const std::string& call) {
  return Take(fail_after_, call);
}

absl::Status FakeApp::Take(std::map<std::string, absl::Status>& planned,
                           const std::string& call) {
  const auto taken = planned.extract(call);
  if (taken.empty()) return absl::OkStatus();
  if (taken.mapped() == kLost) break_();
  return taken.mapped();
}

void FakeApp::SetBreak(std::function<void()> break_off) {
  MutexLock lock(mu_);
  break_ = std::move(break_off);
}

void FakeApp::Restart() {
  MutexLock lock(mu_);
  staged_ = State();
}

void FakeApp::Wipe() {
  MutexLock lock(mu_);
  staged_ = State();
  committed_ = State();
}

std::vector<std::string> FakeApp::Trace() const {
  MutexLock lock(mu_);
  return trace_;
}

void FakeApp::ClearTrace() {
  MutexLock lock(mu_);
  trace_.clear();
}

std::int64_t FakeApp::height() const {
  MutexLock lock(mu_);
  return committed_.height;
}

std::string FakeApp::app_hash() const {
  MutexLock lock(mu_);
  return committed_.Hash();
}

std::vector<std::string> FakeApp::txs() const {
  MutexLock lock(mu_);
  return committed_.txs;
}

abci::RequestInitChain FakeApp::last_init_chain() const {
  MutexLock lock(mu_);
  return last_init_chain_;
}

abci::RequestPrepareProposal FakeApp::last_prepare() const {
  MutexLock lock(mu_);
  return last_prepare_;
}

abci::RequestProcessProposal FakeApp::last_process() const {
  MutexLock lock(mu_);
  return last_process_;
}

abci::RequestFinalizeBlock FakeApp::last_finalize() const {
  MutexLock lock(mu_);
  return last_finalize_;
}

absl::StatusOr<abci::ResponseInfo> FakeApp::Info(rpc::Call&,
                                                 const abci::RequestInfo&) {
  abci::ResponseInfo answer;
  MutexLock lock(mu_);
  if (absl::Status status = Enter("Info", ""); !status.ok()) return status;
  answer.set_data("fake");
  answer.set_version("1");
  answer.set_app_version(7);
  answer.set_last_block_height(committed_.height);
  answer.set_last_block_app_hash(committed_.Hash());
  if (hooks.info) hooks.info(answer);
  return answer;
}

absl::StatusOr<abci::ResponseQuery> FakeApp::Query(
    rpc::Call&, const abci::RequestQuery& request) {
  abci::ResponseQuery answer;
  answer.set_key(request.data());
  answer.set_value(absl::StrCat(request.path(), "?", request.data()));
  MutexLock lock(mu_);
  if (absl::Status status = Enter("Query", ""); !status.ok()) return status;
  answer.set_height(committed_.height);
  answer.mutable_proof_ops()->add_ops()->set_type("p");
  return answer;
}

absl::StatusOr<abci::ResponseCheckTx> FakeApp::CheckTx(
    rpc::Call&, const abci::RequestCheckTx& request) {
  abci::ResponseCheckTx answer;
  answer.set_gas_wanted(1);
  const std::string name =
      request.type() == abci::RECHECK ? "ReCheckTx" : "CheckTx";
  {
    MutexLock lock(mu_);
    if (absl::Status status = Enter(name, request.tx()); !status.ok()) {
      return status;
    }
  }
  if (hooks.check_tx) hooks.check_tx(request, answer);
  return answer;
}

void FakeApp::InitChain(rpc::Call&, const abci::RequestInitChain& request,
                        rpc::Reply<abci::ResponseInitChain> reply) {
  MutexLock lock(mu_);
  absl::Status status = Enter("InitChain", request.chain_id());
  last_init_chain_ = request;
  abci::ResponseInitChain answer;
  if (hooks.init_chain) hooks.init_chain(answer);
  if (!status.ok()) return reply.Send(status);
  reply.Send(std::move(answer));
}

void FakeApp::PrepareProposal(rpc::Call&,
                              const abci::RequestPrepareProposal& request,
                              rpc::Reply<abci::ResponsePrepareProposal> reply) {
  MutexLock lock(mu_);
  absl::Status status =
      Enter("PrepareProposal", absl::StrCat(request.height()));
  last_prepare_ = request;
  if (!status.ok()) return reply.Send(status);
  abci::ResponsePrepareProposal answer;
  *answer.mutable_txs() = request.txs();
  if (hooks.prepare) hooks.prepare(answer);
  reply.Send(std::move(answer));
}

void FakeApp::ProcessProposal(rpc::Call&,
                              const abci::RequestProcessProposal& request,
                              rpc::Reply<abci::ResponseProcessProposal> reply) {
  MutexLock lock(mu_);
  absl::Status status =
      Enter("ProcessProposal", absl::StrCat(request.height()));
  last_process_ = request;
  if (!status.ok()) return reply.Send(status);
  abci::ResponseProcessProposal answer;
  answer.set_status(abci::ResponseProcessProposal::ACCEPT);
  if (hooks.process) hooks.process(answer);
  reply.Send(std::move(answer));
}

void FakeApp::FinalizeBlock(rpc::Call&,
                            const abci::RequestFinalizeBlock& request,
                            rpc::Reply<abci::ResponseFinalizeBlock> reply) {
  MutexLock lock(mu_);
  absl::Status status =
      Enter("FinalizeBlock",
            absl::StrCat(request.height(), request.txs().empty() ? "" : " ",
                         absl::StrJoin(request.txs(), ",")));
  last_finalize_ = request;
  if (!status.ok()) return reply.Send(status);
  if (committed_.height > 0 && request.height() != committed_.height + 1) {
    return reply.Send(absl::FailedPreconditionError(absl::StrCat(
        "at ", committed_.height, ", not for ", request.height())));
  }
  staged_ = committed_;
  staged_.height = request.height();
  abci::ResponseFinalizeBlock answer;
  for (const std::string& tx : request.txs()) {
    staged_.txs.push_back(tx);
    auto& result = *answer.add_tx_results();
    result.set_data(tx);
    result.set_gas_wanted(1);
  }
  answer.set_app_hash(staged_.Hash());
  if (hooks.finalize) hooks.finalize(answer);
  if (status = Leave("FinalizeBlock"); !status.ok()) return reply.Send(status);
  reply.Send(std::move(answer));
}

void FakeApp::Commit(rpc::Call&, const abci::RequestCommit&,
                     rpc::Reply<abci::ResponseCommit> reply) {
  MutexLock lock(mu_);
  absl::Status status = Enter("Commit", "");
  if (!status.ok()) return reply.Send(status);
  if (staged_.height != 0) committed_ = std::exchange(staged_, State());
  abci::ResponseCommit answer;
  if (hooks.commit) hooks.commit(answer);
  if (status = Leave("Commit"); !status.ok()) return reply.Send(status);
  reply.Send(std::move(answer));
}

FakeSession::FakeSession(FakeApp& app, int workers)
    : hello_(rpc::v1::HelloReply()),
      transport_({Serve(app)}, {.workers = workers}) {
  hello_->set_instance_id("fake-instance");
  hello_->set_framework_version("9.9.9");
  app.SetBreak([this] { Close(); });
}

void FakeSession::Start(rpc::ClientCall* call,
                        const google::protobuf::MessageLite& request,
                        const rpc::CallOptions& options) {
  if (!is_over()) return transport_.Start(call, request, options);
  call->status = absl::UnavailableError("the session is over");
  call->done(call);
}

std::shared_ptr<rpc::ClientStream> FakeSession::Open(
    const rpc::Method& method, const google::protobuf::MessageLite* request,
    const rpc::CallOptions& options) {
  return transport_.Open(method, request, options);
}

bool FakeSession::is_over() const {
  MutexLock lock(mu_);
  return is_over_;
}

bool FakeSession::WaitOver(absl::Duration timeout) const {
  MutexLock lock(mu_);
  return mu_.AwaitFor(timeout, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return is_over_;
  });
}

void FakeSession::Close() {
  MutexLock lock(mu_);
  is_over_ = true;
  mu_.NotifyAll();
}

}  // namespace tandem::node

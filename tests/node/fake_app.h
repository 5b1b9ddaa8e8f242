// An application in the test's process, that keeps the contract unless told
// otherwise.

#ifndef TANDEM_TESTS_NODE_FAKE_APP_H_
#define TANDEM_TESTS_NODE_FAKE_APP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/client/in_process.h"
#include "rpc/client/session.h"
#include "tendermint/abci/types.pb.h"
#include "tendermint/abci/types.tandem.h"

namespace tandem::node {

// A planned failure with this breaks the connection.
inline const absl::Status kLost =
    absl::UnavailableError("the connection broke");

// Its state is a number of transactions; its app hash covers them all, in
// order. What Commit has made durable survives Restart(); all else is gone
// then.
//
// Thread safety: thread-safe; the hooks are set while no call is made.
class FakeApp final : public tendermint::abci::ABCIHandler {
 public:
  // Change an answer before it is sent.
  struct Hooks {
    std::function<void(tendermint::abci::ResponseInfo&)> info;
    std::function<void(tendermint::abci::ResponseInitChain&)> init_chain;
    std::function<void(const tendermint::abci::RequestCheckTx&,
                       tendermint::abci::ResponseCheckTx&)>
        check_tx;
    std::function<void(tendermint::abci::ResponsePrepareProposal&)> prepare;
    std::function<void(tendermint::abci::ResponseProcessProposal&)> process;
    std::function<void(tendermint::abci::ResponseFinalizeBlock&)> finalize;
    std::function<void(tendermint::abci::ResponseCommit&)> commit;
  };
  Hooks hooks;

  // The next call of that name ("Commit") fails: before the application does
  // anything, or after it did everything.
  void FailBefore(const std::string& call, absl::Status with);
  void FailAfter(const std::string& call, absl::Status with);

  // How kLost breaks the connection; the latest holds.
  void SetBreak(std::function<void()> break_off) ABSL_LOCKS_EXCLUDED(mu_);

  // Drops what is not committed.
  void Restart() ABSL_LOCKS_EXCLUDED(mu_);
  // Drops everything.
  void Wipe() ABSL_LOCKS_EXCLUDED(mu_);

  // The consensus calls so far, such as "FinalizeBlock 3 a=1,b=2"; CheckTx as
  // "CheckTx a=1" or "ReCheckTx a=1".
  std::vector<std::string> Trace() const ABSL_LOCKS_EXCLUDED(mu_);
  void ClearTrace() ABSL_LOCKS_EXCLUDED(mu_);
  std::int64_t height() const ABSL_LOCKS_EXCLUDED(mu_);
  std::string app_hash() const ABSL_LOCKS_EXCLUDED(mu_);
  // All committed transactions, in order.
  std::vector<std::string> txs() const ABSL_LOCKS_EXCLUDED(mu_);
  // The last request of each kind.
  tendermint::abci::RequestInitChain last_init_chain() const;
  tendermint::abci::RequestPrepareProposal last_prepare() const;
  tendermint::abci::RequestProcessProposal last_process() const;
  tendermint::abci::RequestFinalizeBlock last_finalize() const;

  absl::StatusOr<tendermint::abci::ResponseInfo> Info(
      rpc::Call& call, const tendermint::abci::RequestInfo& request) override;
  absl::StatusOr<tendermint::abci::ResponseQuery> Query(
      rpc::Call& call, const tendermint::abci::RequestQuery& request) override;
  absl::StatusOr<tendermint::abci::ResponseCheckTx> CheckTx(
      rpc::Call& call,
      const tendermint::abci::RequestCheckTx& request) override;
  void InitChain(
      rpc::Call& call, const tendermint::abci::RequestInitChain& request,
      rpc::Reply<tendermint::abci::ResponseInitChain> reply) override;
  void PrepareProposal(
      rpc::Call& call, const tendermint::abci::RequestPrepareProposal& request,
      rpc::Reply<tendermint::abci::ResponsePrepareProposal> reply) override;
  void ProcessProposal(
      rpc::Call& call, const tendermint::abci::RequestProcessProposal& request,
      rpc::Reply<tendermint::abci::ResponseProcessProposal> reply) override;
  void FinalizeBlock(
      rpc::Call& call, const tendermint::abci::RequestFinalizeBlock& request,
      rpc::Reply<tendermint::abci::ResponseFinalizeBlock> reply) override;
  void Commit(rpc::Call& call, const tendermint::abci::RequestCommit& request,
              rpc::Reply<tendermint::abci::ResponseCommit> reply) override;

 private:
  struct State {
    std::int64_t height = 0;
    std::vector<std::string> txs;
    std::string Hash() const;
  };

  // Notes the call, and says how it is to fail beforehand, if it is.
  absl::Status Enter(const std::string& call, const std::string& details)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Leave(const std::string& call)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The failure that is planned for `call`, which it carries out.
  absl::Status Take(std::map<std::string, absl::Status>& planned,
                    const std::string& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable rpc::Mutex mu_;
  State committed_ ABSL_GUARDED_BY(mu_);
  State staged_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> trace_ ABSL_GUARDED_BY(mu_);
  std::function<void()> break_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, absl::Status> fail_before_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, absl::Status> fail_after_ ABSL_GUARDED_BY(mu_);
  tendermint::abci::RequestInitChain last_init_chain_ ABSL_GUARDED_BY(mu_);
  tendermint::abci::RequestPrepareProposal last_prepare_ ABSL_GUARDED_BY(mu_);
  tendermint::abci::RequestProcessProposal last_process_ ABSL_GUARDED_BY(mu_);
  tendermint::abci::RequestFinalizeBlock last_finalize_ ABSL_GUARDED_BY(mu_);
};

// A connection to an application in this process.
class FakeSession final : public rpc::Session {
 public:
  explicit FakeSession(FakeApp& app, int workers = 4);

  void Start(rpc::ClientCall* call,
             const google::protobuf::MessageLite& request,
             const rpc::CallOptions& options) override;
  std::shared_ptr<rpc::ClientStream> Open(
      const rpc::Method& method, const google::protobuf::MessageLite* request,
      const rpc::CallOptions& options) override;
  const absl::StatusOr<rpc::v1::HelloReply>& hello() const override {
    return hello_;
  }
  bool is_over() const override ABSL_LOCKS_EXCLUDED(mu_);
  bool WaitOver(absl::Duration timeout) const override ABSL_LOCKS_EXCLUDED(mu_);
  void Close() override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::StatusOr<rpc::v1::HelloReply> hello_;
  mutable rpc::Mutex mu_;
  bool is_over_ ABSL_GUARDED_BY(mu_) = false;
  rpc::InProcessTransport transport_;
};

}  // namespace tandem::node

#endif  // TANDEM_TESTS_NODE_FAKE_APP_H_

// Whether a node and its application keep the app contract, judged from what
// passed between them.

#ifndef TANDEM_PROTO_ABCI_CONTRACT_CHECKER_H_
#define TANDEM_PROTO_ABCI_CONTRACT_CHECKER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/abci/chain_changes.h"
#include "tandem/abci/v1/trace.pb.h"
#include "tendermint/abci/types.pb.h"

namespace tandem::abci {

// A rule that was broken.
struct Violation {
  std::int64_t record;  // of the trace, counted from 1: where it shows
  std::string rule;     // as proto/PROTOCOL.md numbers them, such as "N4"
  std::string what;
};

// Takes a trace record by record, and finds what is against the rules of
// proto/PROTOCOL.md ("Rules that a trace shows"). It relies on nothing but the
// contract, and says nothing of what a trace does not show: one that begins in
// the middle of a chain is judged from there on.
//
// Thread safety: thread-compatible.
class ContractChecker {
 public:
  struct Options {
    // The application may come back with older state than it had: somebody
    // restores its data.
    bool allow_older_state = false;
  };
  ContractChecker() = default;
  explicit ContractChecker(Options options) : options_(options) {}

  void Take(const v1::TraceRecord& record);

  // What was found since the last time.
  std::vector<Violation> TakeViolations();

  // How many records it was given.
  std::int64_t records() const { return record_; }

 private:
  // As many heights as this are compared with when they come again.
  static constexpr std::size_t kBlocksRemembered = 100'000;

  struct Call {
    std::uint64_t connection = 0;
    // Without what is large and of no use later.
    tendermint::abci::Request request;
    // When it began.
    std::optional<std::int64_t> committed;
    bool is_own_proposal = false;
  };
  struct Block {
    std::size_t request = 0;  // hash of the FinalizeBlock
    bool is_answered = false;
    std::string app_hash;
    std::size_t answer = 0;  // hash of what must be the same each time
  };
  // An answered PrepareProposal.
  struct Proposal {
    std::int64_t height;
    std::string time;
    std::string proposer;
    std::size_t txs;  // hash
  };
  // What ExtendVote answered last.
  struct Extension {
    std::int64_t height;
    std::string block;  // hash
    std::string bytes;
  };

  void Report(std::string_view rule, std::string what);
  void ReportAll(std::string_view rule, std::string_view call,
                 const Faults& faults);

  void OnStarted();
  void OnConnected(std::uint64_t connection);
  // Either may be another process: nothing is staged or begun.
  void MeetAnew();
  void OnDisconnected(std::uint64_t connection);
  void OnBegan(const v1::CallBegan& began);
  void OnEnded(const v1::CallEnded& ended);

  // Calls that begin.
  void OnConsensusBegan(Call& call);
  void OnCommitBegan();
  void OnCheckTxBegan();
  void CheckHeight(std::string_view name, std::int64_t height);
  // `commit`: the votes for the block before that height.
  template <typename Commit>
  void CheckVotes(std::string_view name, std::int64_t height,
                  const Commit& commit);
  // That votes for the block of that height are extended.
  void CheckHasExtensions(std::string_view name, std::int64_t height);
  void CheckExtensions(const tendermint::abci::RequestPrepareProposal& request);
  // Whether it is a block of an own PrepareProposal.
  template <typename Request>
  bool CheckProposal(std::string_view name, const Request& request);
  void CheckSameBlock(const tendermint::abci::RequestFinalizeBlock& request);

  // Answers.
  void OnAnswer(const Call& call, const tendermint::abci::Response& response);
  void OnInfo(const Call& call, const tendermint::abci::ResponseInfo& info);
  void OnInitChain(const tendermint::abci::RequestInitChain& request,
                   const tendermint::abci::ResponseInitChain& answer);
  void OnPrepared(const tendermint::abci::RequestPrepareProposal& request,
                  const tendermint::abci::ResponsePrepareProposal& answer);
  void OnFinalized(const tendermint::abci::RequestFinalizeBlock& request,
                   const tendermint::abci::ResponseFinalizeBlock& answer);
  void OnUpdates(std::int64_t height, const ValidatorUpdates& updates);
  void OnUpdates(std::int64_t height, const ConsensusParams& update);
  void OnExtended(const tendermint::abci::RequestExtendVote& request,
                  const tendermint::abci::ResponseExtendVote& answer);
  void OnVerified(const tendermint::abci::RequestVerifyVoteExtension& request,
                  const tendermint::abci::ResponseVerifyVoteExtension& answer);
  void OnVerdict(std::string_view name,
                 const google::protobuf::Message& request, int verdict);
  void OnFailed(const Call& call, const v1::CallError& error);

  // The application is where `height` is committed.
  void SetCommitted(std::int64_t height);
  // The highest that may be committed.
  std::int64_t Highest() const;
  // A consensus call of `height` was answered well.
  void Settle(std::int64_t height);

  Options options_;
  std::vector<Violation> violations_;
  std::int64_t record_ = 0;

  // Those that are open: whether Info was answered.
  std::map<std::uint64_t, bool> connections_;
  std::map<std::uint64_t, Call> calls_;  // in flight
  bool app_has_pool_ = false;            // InsertTx or ReapTxs came

  // What is committed; none while that is unknown.
  std::optional<std::int64_t> committed_;
  // Its Commit began, and nobody knows how it ended.
  std::optional<std::int64_t> maybe_;
  // The application, or the node, may be another process than it was.
  bool is_fresh_ = true;
  // The first Info since then told the app hash of another chain.
  bool is_foreign_ = false;
  // Why the node has to ask Info before it goes on; empty when it has not.
  std::string must_ask_;
  // Since the last consensus call Info was answered: blocks may begin anew.
  bool may_begin_again_ = true;
  // InitChain was answered, since Started or Connected.
  bool has_begun_ = false;

  std::string chain_;  // what InitChain said that is a chain's alone
  std::optional<std::int64_t> initial_;
  std::optional<std::int64_t> staged_;  // FinalizeBlock was answered
  std::vector<Proposal> proposals_;     // of one height
  std::map<std::int64_t, Block> blocks_;

  // Those in force two blocks later, and one block later.
  History<ValidatorSet> validators_;
  History<ConsensusParams> params_;
  // Of the last FinalizeBlock that was answered, until it is committed.
  std::optional<std::int64_t> finalized_;

  std::string own_address_;  // of the node's validator, once it has proposed
  std::optional<Extension> extension_;
  std::map<std::size_t, int> verdicts_;  // by hash of what was asked
};

}  // namespace tandem::abci

#endif  // TANDEM_PROTO_ABCI_CONTRACT_CHECKER_H_

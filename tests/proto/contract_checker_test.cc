#include "proto/abci/contract_checker.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/abci/call_recorder.h"
#include "rpc/base/sha256.h"

namespace tandem::abci {
namespace {

using tendermint::abci::RequestCheckTx;
using tendermint::abci::RequestCommit;
using tendermint::abci::RequestEcho;
using tendermint::abci::RequestExtendVote;
using tendermint::abci::RequestFinalizeBlock;
using tendermint::abci::RequestFlush;
using tendermint::abci::RequestInfo;
using tendermint::abci::RequestInitChain;
using tendermint::abci::RequestPrepareProposal;
using tendermint::abci::RequestProcessProposal;
using tendermint::abci::RequestQuery;
using tendermint::abci::RequestReapTxs;
using tendermint::abci::RequestVerifyVoteExtension;
using tendermint::abci::ResponseApplySnapshotChunk;
using tendermint::abci::ResponseCheckTx;
using tendermint::abci::ResponseCommit;
using tendermint::abci::ResponseEcho;
using tendermint::abci::ResponseExtendVote;
using tendermint::abci::ResponseFinalizeBlock;
using tendermint::abci::ResponseFlush;
using tendermint::abci::ResponseInfo;
using tendermint::abci::ResponseInitChain;
using tendermint::abci::ResponsePrepareProposal;
using tendermint::abci::ResponseProcessProposal;
using tendermint::abci::ResponseQuery;
using tendermint::abci::ResponseReapTxs;
using tendermint::abci::ResponseVerifyVoteExtension;
using tendermint::abci::ValidatorUpdate;
using tendermint::types::ConsensusParams;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kManyBytes = 1 << 20;

// The app hash after a height, of a chain.
std::string HashAfter(std::int64_t height) {
  return absl::StrCat("hash ", height);
}

ResponseInfo InfoOf(std::int64_t height) {
  ResponseInfo info;
  info.set_last_block_height(height);
  if (height > 0) info.set_last_block_app_hash(HashAfter(height));
  return info;
}

ValidatorUpdate Validator(char name, std::int64_t power) {
  ValidatorUpdate validator;
  validator.mutable_pub_key()->set_ed25519(std::string(32, name));
  validator.set_power(power);
  return validator;
}

ConsensusParams Params() {
  ConsensusParams params;
  params.mutable_block()->set_max_bytes(kManyBytes);
  params.mutable_block()->set_max_gas(-1);
  params.mutable_evidence()->set_max_age_num_blocks(1);
  params.mutable_evidence()->mutable_max_age_duration()->set_nanos(1);
  params.mutable_evidence()->set_max_bytes(kManyBytes);
  params.mutable_validator()->add_pub_key_types("ed25519");
  params.mutable_abci();
  return params;
}

ConsensusParams ExtendedFrom(std::int64_t height) {
  ConsensusParams params = Params();
  params.mutable_abci()->set_vote_extensions_enable_height(height);
  return params;
}

template <typename Vote>
void Fill(Vote* vote, char name = 'a', std::int64_t power = 10) {
  vote->mutable_validator()->set_address(
      rpc::Sha256(std::string(32, name)).substr(0, 20));
  vote->mutable_validator()->set_power(power);
  vote->set_block_id_flag(tendermint::types::BLOCK_ID_FLAG_COMMIT);
}

RequestInitChain Genesis(std::int64_t initial_height = 1) {
  RequestInitChain request;
  request.set_chain_id("test");
  request.set_initial_height(initial_height);
  *request.mutable_consensus_params() = Params();
  *request.add_validators() = Validator('a', 10);
  return request;
}

RequestPrepareProposal PrepareOf(std::int64_t height,
                                 std::int64_t initial = 1) {
  RequestPrepareProposal request;
  request.set_height(height);
  request.set_max_tx_bytes(kManyBytes);
  request.mutable_time()->set_seconds(height);
  if (height > initial) Fill(request.mutable_local_last_commit()->add_votes());
  return request;
}

RequestProcessProposal ProcessOf(std::int64_t height,
                                 const std::vector<std::string>& txs = {}) {
  RequestProcessProposal request;
  request.set_height(height);
  request.mutable_time()->set_seconds(height);
  for (const std::string& tx : txs) request.add_txs(tx);
  if (height > 1) Fill(request.mutable_proposed_last_commit()->add_votes());
  return request;
}

RequestFinalizeBlock BlockOf(std::int64_t height,
                             const std::vector<std::string>& txs = {},
                             std::int64_t initial = 1) {
  RequestFinalizeBlock request;
  request.set_height(height);
  request.mutable_time()->set_seconds(height);
  for (const std::string& tx : txs) request.add_txs(tx);
  if (height > initial) {
    Fill(request.mutable_decided_last_commit()->add_votes());
  }
  return request;
}

RequestExtendVote ExtendOf(std::int64_t height) {
  RequestExtendVote request;
  request.set_height(height);
  request.set_hash("block");
  request.mutable_time()->set_seconds(height);
  if (height > 1) Fill(request.mutable_proposed_last_commit()->add_votes());
  return request;
}

RequestVerifyVoteExtension VerifyOf(std::int64_t height,
                                    const std::string& extension = "") {
  RequestVerifyVoteExtension request;
  request.set_height(height);
  request.set_hash("block");
  request.set_validator_address("own");
  request.set_vote_extension(extension);
  return request;
}

ResponseVerifyVoteExtension Verdict(
    ResponseVerifyVoteExtension::VerifyStatus status) {
  ResponseVerifyVoteExtension answer;
  answer.set_status(status);
  return answer;
}

ResponseExtendVote ExtendedBy(const std::string& bytes) {
  ResponseExtendVote answer;
  answer.set_vote_extension(bytes);
  return answer;
}

ResponseFinalizeBlock ResultOf(const RequestFinalizeBlock& block) {
  ResponseFinalizeBlock answer;
  for (int i = 0; i < block.txs_size(); ++i) answer.add_tx_results();
  answer.set_app_hash(HashAfter(block.height()));
  return answer;
}

ResponseProcessProposal Verdict(
    ResponseProcessProposal::ProposalStatus status) {
  ResponseProcessProposal answer;
  answer.set_status(status);
  return answer;
}

ResponseQuery Told(std::int64_t height) {
  ResponseQuery answer;
  answer.set_height(height);
  return answer;
}

class ContractCheckerTest : public ::testing::Test {
 protected:
  // --- What happens, one thing after the other. ---

  void Connect() { connection_ = recorder_.Connected(); }
  void Disconnect() { recorder_.Disconnected(connection_); }

  template <typename Q>
  std::uint64_t Begin(const Q& request) {
    return recorder_.Began(connection_, request);
  }
  template <typename R>
  void End(std::uint64_t call, const R& answer) {
    recorder_.Ended(call, absl::StatusOr<R>(answer));
  }
  void Fail(std::uint64_t call) {
    recorder_.Ended(call,
                    absl::StatusOr<ResponseInfo>(absl::InternalError("no")));
  }
  template <typename Q, typename R>
  void Call(const Q& request, const R& answer) {
    End(Begin(request), answer);
  }

  // A connection to an application at this height.
  void ConnectAt(std::int64_t height) {
    Connect();
    Call(RequestInfo(), InfoOf(height));
  }
  void StartChain(std::int64_t initial_height = 1) {
    ConnectAt(0);
    Call(Genesis(initial_height), ResponseInitChain());
  }
  void StartChain(const ConsensusParams& params) {
    ConnectAt(0);
    RequestInitChain request = Genesis();
    *request.mutable_consensus_params() = params;
    Call(request, ResponseInitChain());
  }
  void Finalize(const RequestFinalizeBlock& block) {
    Call(block, ResultOf(block));
  }
  void Commit() { Call(RequestCommit(), ResponseCommit()); }
  void MakeBlock(std::int64_t height,
                 const std::vector<std::string>& txs = {}) {
    Finalize(BlockOf(height, txs));
    Commit();
  }
  void FinalizeWith(const std::vector<ValidatorUpdate>& updates,
                    std::int64_t height = 1) {
    ResponseFinalizeBlock answer = ResultOf(BlockOf(height));
    for (const auto& update : updates) {
      *answer.add_validator_updates() = update;
    }
    Call(BlockOf(height), answer);
  }
  void MakeBlockWith(std::int64_t height, const ConsensusParams& update) {
    ResponseFinalizeBlock answer = ResultOf(BlockOf(height));
    *answer.mutable_consensus_param_updates() = update;
    Call(BlockOf(height), answer);
    Commit();
  }

  // The rules that were found broken.
  std::vector<std::string> Broken() {
    std::vector<std::string> rules;
    for (const Violation& violation : checker_.TakeViolations()) {
      rules.push_back(violation.rule);
      said_ += violation.what + "\n";
    }
    return rules;
  }

  std::string said_;
  ContractChecker checker_;
  CallRecorder recorder_{
      "test", [this](const v1::TraceRecord& record) { checker_.Take(record); }};
  std::uint64_t connection_ = 0;
};

TEST_F(ContractCheckerTest, AcceptsAChainOfBlocks) {
  StartChain();
  for (int height = 1; height <= 3; ++height) {
    ResponsePrepareProposal prepared;
    prepared.add_txs("a=1");
    Call(PrepareOf(height), prepared);
    Call(ProcessOf(height, {"a=1"}), Verdict(ResponseProcessProposal::ACCEPT));
    MakeBlock(height, {"a=1"});
    Call(RequestCheckTx(), ResponseCheckTx());
    Call(RequestQuery(), Told(height));
    Call(RequestInfo(), InfoOf(height));
  }
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, SaysWhereARuleWasBroken) {
  StartChain();
  Finalize(BlockOf(1));
  Begin(BlockOf(2));
  const auto violations = checker_.TakeViolations();
  ASSERT_EQ(violations.size(), 2u);
  EXPECT_EQ(violations[0].record, 9);
  EXPECT_EQ(violations[0].rule, "N3");
  EXPECT_EQ(violations[0].what,
            "FinalizeBlock between FinalizeBlock of height 1 and its Commit");
  EXPECT_THAT(checker_.TakeViolations(), IsEmpty());
}

TEST_F(ContractCheckerTest, AcceptsRoundsWithoutABlock) {
  StartChain();
  Call(PrepareOf(1), ResponsePrepareProposal());
  Call(ProcessOf(1), Verdict(ResponseProcessProposal::ACCEPT));
  ResponsePrepareProposal second;
  second.add_txs("b=2");
  Call(PrepareOf(1), second);
  Call(ProcessOf(1, {"b=2"}), Verdict(ResponseProcessProposal::ACCEPT));
  // The first round's block is decided in the end.
  MakeBlock(1);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, InfoComesFirstOnAConnection) {
  Connect();
  Call(RequestEcho(), ResponseEcho());
  Call(RequestFlush(), ResponseFlush());
  EXPECT_THAT(Broken(), IsEmpty());
  Call(RequestCheckTx(), ResponseCheckTx());
  EXPECT_THAT(Broken(), ElementsAre("N1"));
  Call(RequestInfo(), InfoOf(0));
  Call(RequestCheckTx(), ResponseCheckTx());
  EXPECT_THAT(Broken(), IsEmpty());
  Connect();
  Call(RequestQuery(), Told(0));
  EXPECT_THAT(Broken(), ElementsAre("N1"));
}

// A trace that the application made has no connections.
TEST_F(ContractCheckerTest, WithoutConnectionsNothingIsSaidOfInfo) {
  Call(RequestCheckTx(), ResponseCheckTx());
  MakeBlock(7);
  MakeBlock(8);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  MakeBlock(8);
  EXPECT_THAT(Broken(), ElementsAre("N4"));
}

TEST_F(ContractCheckerTest, ConsensusCallsComeOneAtATime) {
  StartChain();
  const auto prepare = Begin(PrepareOf(1));
  Call(RequestQuery(), Told(0));
  Call(RequestCheckTx(), ResponseCheckTx());
  EXPECT_THAT(Broken(), IsEmpty());
  Begin(ProcessOf(1));
  EXPECT_THAT(Broken(), ElementsAre("N2"));
  End(prepare, ResponsePrepareProposal());
}

TEST_F(ContractCheckerTest, ACallOfABrokenConnectionIsInNobodysWay) {
  StartChain();
  Begin(PrepareOf(1));
  Disconnect();
  StartChain();
  Call(PrepareOf(1), ResponsePrepareProposal());
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, CommitFollowsFinalizeBlockDirectly) {
  StartChain();
  Commit();
  EXPECT_THAT(Broken(), ElementsAre("N3"));
  Finalize(BlockOf(1));
  Call(RequestQuery(), Told(0));
  Commit();
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  Commit();
  EXPECT_THAT(Broken(), ElementsAre("N3"));
  Finalize(BlockOf(2));
  Call(ProcessOf(2), Verdict(ResponseProcessProposal::ACCEPT));
  EXPECT_THAT(Broken(), ElementsAre("N3"));
}

TEST_F(ContractCheckerTest, ANodeThatAskedInfoMayBeginTheBlockAgain) {
  StartChain();
  Finalize(BlockOf(1));
  Call(RequestInfo(), InfoOf(0));
  MakeBlock(1);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  Finalize(BlockOf(2));
  Call(RequestInfo(), InfoOf(1));
  Commit();
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, HeightsHaveNoGap) {
  StartChain();
  MakeBlock(1);
  Call(PrepareOf(2), ResponsePrepareProposal());
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  Call(PrepareOf(3), ResponsePrepareProposal());
  EXPECT_THAT(Broken(), ElementsAre("N4"));
  Call(ProcessOf(1), Verdict(ResponseProcessProposal::ACCEPT));
  EXPECT_THAT(Broken(), ElementsAre("N4"));
  Finalize(BlockOf(3));
  EXPECT_THAT(Broken(), ElementsAre("N4"));
}

TEST_F(ContractCheckerTest, TheFirstHeightIsTheInitialOne) {
  StartChain(5);
  Finalize(BlockOf(5, {}, 5));
  Commit();
  Finalize(BlockOf(6, {}, 5));
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  StartChain(5);
  EXPECT_THAT(Broken(), ElementsAre("A8"));
  Finalize(BlockOf(6, {}, 5));
  EXPECT_THAT(Broken(), ElementsAre("N4"));
}

TEST_F(ContractCheckerTest, ToolsMakeBlocksOfHeightZero) {
  Call(RequestInfo(), InfoOf(0));
  MakeBlock(0, {"a=1"});
  MakeBlock(0, {"b=1"});
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, InitChainComesOnlyWhileNothingIsCommitted) {
  StartChain();
  Call(Genesis(), ResponseInitChain());
  MakeBlock(1);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  Call(Genesis(), ResponseInitChain());
  EXPECT_THAT(Broken(), ElementsAre("N5"));
}

TEST_F(ContractCheckerTest, AnEmptyApplicationIsGivenInitChainFirst) {
  ConnectAt(0);
  Finalize(BlockOf(1));
  EXPECT_THAT(Broken(), ElementsAre("N5"));
}

TEST_F(ContractCheckerTest, ABlockThatComesAgainIsTheSame) {
  StartChain();
  Finalize(BlockOf(1, {"a=1"}));
  StartChain();
  MakeBlock(1, {"a=1"});
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  Finalize(BlockOf(2, {"b=1"}));
  ConnectAt(1);
  Finalize(BlockOf(2, {"b=2"}));
  EXPECT_THAT(Broken(), ElementsAre("N6"));
}

TEST_F(ContractCheckerTest, AnotherChainHasBlocksOfItsOwn) {
  StartChain();
  Finalize(BlockOf(1, {"a=1"}));
  ConnectAt(0);
  RequestInitChain other = Genesis();
  other.set_chain_id("other");
  Call(other, ResponseInitChain());
  Finalize(BlockOf(1, {"b=1"}));
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, TheFirstBlockHasNoVotesAndOthersHave) {
  StartChain();
  Call(PrepareOf(1, 0), ResponsePrepareProposal());
  EXPECT_THAT(Broken(), ElementsAre("N7"));
  Finalize(BlockOf(1, {}, 0));
  EXPECT_THAT(Broken(), ElementsAre("N7"));
  Commit();
  Call(PrepareOf(2, 2), ResponsePrepareProposal());
  EXPECT_THAT(Broken(), ElementsAre("N7"));
}

TEST_F(ContractCheckerTest, EachValidatorOfTheBlockBeforeVotes) {
  StartChain();
  MakeBlock(1);
  RequestFinalizeBlock block = BlockOf(2);
  auto& votes = *block.mutable_decided_last_commit()->mutable_votes();
  Fill(votes.Add());
  Finalize(block);  // one too many
  EXPECT_THAT(Broken(), ElementsAre("N7"));
  votes.RemoveLast();
  Fill(&votes[0], 'b');
  Call(ProcessOf(2), Verdict(ResponseProcessProposal::ACCEPT));
  EXPECT_THAT(Broken(), ElementsAre("N3"));
  RequestProcessProposal process = ProcessOf(2);
  *process.mutable_proposed_last_commit() = block.decided_last_commit();
  Call(process, Verdict(ResponseProcessProposal::ACCEPT));
  EXPECT_THAT(Broken(), ElementsAre("N7"));
  RequestPrepareProposal prepare = PrepareOf(2);
  prepare.mutable_local_last_commit()
      ->mutable_votes(0)
      ->mutable_validator()
      ->set_power(9);
  Call(prepare, ResponsePrepareProposal());
  EXPECT_THAT(Broken(), ElementsAre("N7"));
}

TEST_F(ContractCheckerTest, UpdatedValidatorsVoteInTheThirdBlock) {
  StartChain();
  FinalizeWith({Validator('b', 5)});
  Commit();
  MakeBlock(2);
  MakeBlock(3);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  Finalize(BlockOf(4));
  EXPECT_THAT(Broken(), ElementsAre("N7"));
  RequestFinalizeBlock block = BlockOf(4);
  Fill(block.mutable_decided_last_commit()->add_votes(), 'b', 5);
  ConnectAt(3);
  Finalize(block);
  EXPECT_THAT(Broken(), ElementsAre("N6"));
}

TEST_F(ContractCheckerTest, AddressesOfOtherKindsOfKeyAreNotJudged) {
  ConnectAt(0);
  RequestInitChain genesis = Genesis();
  genesis.mutable_validators(0)->mutable_pub_key()->set_secp256k1(
      std::string(33, 'b'));
  Call(genesis, ResponseInitChain());
  MakeBlock(1);
  MakeBlock(2);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  RequestFinalizeBlock block = BlockOf(3);
  Fill(block.mutable_decided_last_commit()->mutable_votes(0), 'a', 9);
  Finalize(block);
  EXPECT_THAT(Broken(), ElementsAre("N7"));
}

// The trace does not show what changed meanwhile.
TEST_F(ContractCheckerTest, NothingIsSaidOfValidatorsAfterAGap) {
  StartChain();
  MakeBlock(1);
  ConnectAt(7);
  RequestPrepareProposal prepare = PrepareOf(8);
  Fill(prepare.mutable_local_last_commit()->mutable_votes(0), 'b', 1);
  Call(prepare, ResponsePrepareProposal());
  RequestFinalizeBlock block = BlockOf(8);
  Fill(block.mutable_decided_last_commit()->mutable_votes(0), 'b', 1);
  Finalize(block);
  Commit();
  FinalizeWith({Validator('c', 0)}, 9);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, VotesAreExtendedOnlyWhereTheChainWantsIt) {
  StartChain(ExtendedFrom(2));
  Call(ExtendOf(1), ExtendedBy("x"));
  EXPECT_THAT(Broken(), ElementsAre("N11"));
  Call(VerifyOf(1), Verdict(ResponseVerifyVoteExtension::ACCEPT));
  EXPECT_THAT(Broken(), ElementsAre("N11"));
  MakeBlock(1);
  Call(ExtendOf(2), ExtendedBy("x"));
  Call(VerifyOf(2, "x"), Verdict(ResponseVerifyVoteExtension::ACCEPT));
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  StartChain();
  EXPECT_THAT(Broken(), ElementsAre("A8"));
  Call(ExtendOf(1), ExtendedBy("x"));
  EXPECT_THAT(Broken(), ElementsAre("N11"));
}

TEST_F(ContractCheckerTest, AnUpdateMayBeginTheExtensions) {
  StartChain();
  ConsensusParams update;
  update.mutable_abci()->set_vote_extensions_enable_height(3);
  MakeBlockWith(1, update);
  Call(ExtendOf(2), ExtendedBy("x"));
  EXPECT_THAT(Broken(), ElementsAre("N11"));
  MakeBlock(2);
  Call(ExtendOf(3), ExtendedBy("x"));
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, VotesAreExtendedForTheNextBlockAsItIs) {
  StartChain(ExtendedFrom(1));
  Call(ExtendOf(2), ExtendedBy("x"));
  EXPECT_THAT(Broken(), ElementsAre("N4"));
  Call(VerifyOf(2), Verdict(ResponseVerifyVoteExtension::ACCEPT));
  EXPECT_THAT(Broken(), ElementsAre("N4"));
  RequestExtendVote extend = ExtendOf(1);
  Fill(extend.mutable_proposed_last_commit()->add_votes());
  Call(extend, ExtendedBy("x"));
  EXPECT_THAT(Broken(), ElementsAre("N7"));
  Call(PrepareOf(1), ResponsePrepareProposal());
  extend = ExtendOf(1);
  extend.add_txs("a=1");
  Call(extend, ExtendedBy("x"));
  EXPECT_THAT(Broken(), ElementsAre("N8"));
}

TEST_F(ContractCheckerTest, AProposerIsGivenTheExtensionsOfTheBlockBefore) {
  StartChain(ExtendedFrom(2));
  MakeBlock(1);
  RequestPrepareProposal prepare = PrepareOf(2);
  Call(prepare, ResponsePrepareProposal());
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  auto* vote = prepare.mutable_local_last_commit()->mutable_votes(0);
  vote->set_vote_extension("x");
  Call(prepare, ResponsePrepareProposal());
  EXPECT_THAT(Broken(), ElementsAre("N11"));
  vote->clear_vote_extension();
  vote->set_extension_signature("signed");
  Call(prepare, ResponsePrepareProposal());
  EXPECT_THAT(Broken(), ElementsAre("N11"));
  MakeBlock(2);

  prepare = PrepareOf(3);
  Call(prepare, ResponsePrepareProposal());
  EXPECT_THAT(Broken(), ElementsAre("N11"));
  vote = prepare.mutable_local_last_commit()->mutable_votes(0);
  vote->set_extension_signature("signed");
  Call(prepare, ResponsePrepareProposal());
  vote->set_vote_extension("x");
  Call(prepare, ResponsePrepareProposal());
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  vote->set_block_id_flag(tendermint::types::BLOCK_ID_FLAG_ABSENT);
  Call(prepare, ResponsePrepareProposal());
  EXPECT_THAT(Broken(), ElementsAre("N11"));
  vote->clear_vote_extension();
  vote->clear_extension_signature();
  Call(prepare, ResponsePrepareProposal());
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, AVoteExtensionHasALimit) {
  StartChain(ExtendedFrom(1));
  Call(ExtendOf(1), ExtendedBy(std::string(1 << 20, 'x')));
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  Call(ExtendOf(1), ExtendedBy(std::string((1 << 20) + 1, 'x')));
  EXPECT_THAT(Broken(), ElementsAre("A2"));
}

TEST_F(ContractCheckerTest, AnApplicationAcceptsItsOwnVoteExtension) {
  StartChain(ExtendedFrom(1));
  RequestPrepareProposal prepare = PrepareOf(1);
  prepare.set_proposer_address("own");
  Call(prepare, ResponsePrepareProposal());
  Call(ExtendOf(1), ExtendedBy("x"));
  RequestVerifyVoteExtension other = VerifyOf(1, "x");
  other.set_validator_address("other");
  Call(other, Verdict(ResponseVerifyVoteExtension::REJECT));
  other = VerifyOf(1, "x");
  other.set_hash("other");
  Call(other, Verdict(ResponseVerifyVoteExtension::REJECT));
  Call(VerifyOf(1, "y"), Verdict(ResponseVerifyVoteExtension::REJECT));
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  Call(VerifyOf(1, "x"), Verdict(ResponseVerifyVoteExtension::REJECT));
  EXPECT_THAT(Broken(), ElementsAre("A4"));
}

TEST_F(ContractCheckerTest, AVerdictIsTheSameEachTime) {
  StartChain(ExtendedFrom(1));
  Call(ProcessOf(1), Verdict(ResponseProcessProposal::ACCEPT));
  Call(ProcessOf(1), Verdict(ResponseProcessProposal::ACCEPT));
  Call(VerifyOf(1), Verdict(ResponseVerifyVoteExtension::ACCEPT));
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  Call(ProcessOf(1), Verdict(ResponseProcessProposal::REJECT));
  EXPECT_THAT(Broken(), ElementsAre("A6"));
  Call(VerifyOf(1), Verdict(ResponseVerifyVoteExtension::REJECT));
  EXPECT_THAT(Broken(), ElementsAre("A6"));
  // Another chain has a state of its own.
  StartChain(ExtendedFrom(1));
  Call(ProcessOf(1), Verdict(ResponseProcessProposal::REJECT));
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, UpdatesOfParametersKeepTheRules) {
  const auto broken = [this](const ConsensusParams& update) {
    checker_ = ContractChecker();
    StartChain();
    MakeBlock(1);
    MakeBlockWith(2, update);
    return Broken();
  };
  EXPECT_THAT(broken(Params()), IsEmpty()) << said_;
  EXPECT_THAT(broken(ConsensusParams()), IsEmpty()) << said_;
  ConsensusParams params;
  params.mutable_block()->set_max_bytes(-1);
  EXPECT_THAT(broken(params), IsEmpty()) << said_;
  params.mutable_block()->set_max_bytes(100 << 20);
  EXPECT_THAT(broken(params), IsEmpty()) << said_;
  params.mutable_block()->set_max_bytes((100 << 20) + 1);
  EXPECT_THAT(broken(params), ElementsAre("A9"));
  // Without evidence, any of which would be too much.
  *params.mutable_evidence() = Params().evidence();
  params.mutable_evidence()->clear_max_bytes();
  params.mutable_block()->set_max_bytes(1);
  EXPECT_THAT(broken(params), IsEmpty()) << said_;
  params.mutable_block()->set_max_bytes(0);
  EXPECT_THAT(broken(params), ElementsAre("A9"));
  params.mutable_block()->set_max_bytes(-2);
  EXPECT_THAT(broken(params), ElementsAre("A9", "A9"));
  params.clear_evidence();
  // There is evidence that would not fit.
  params.mutable_block()->set_max_bytes(kManyBytes - 1);
  EXPECT_THAT(broken(params), ElementsAre("A9"));
  params = Params();
  params.mutable_block()->set_max_gas(-2);
  EXPECT_THAT(broken(params), ElementsAre("A9"));
  params = Params();
  params.mutable_evidence()->set_max_age_num_blocks(0);
  EXPECT_THAT(broken(params), ElementsAre("A9"));
  params = Params();
  params.mutable_evidence()->clear_max_age_duration();
  EXPECT_THAT(broken(params), ElementsAre("A9"));
  params.mutable_evidence()->mutable_max_age_duration()->set_seconds(-1);
  EXPECT_THAT(broken(params), ElementsAre("A9"));
  params = Params();
  params.mutable_evidence()->set_max_bytes(-1);
  EXPECT_THAT(broken(params), ElementsAre("A9"));
  params.mutable_evidence()->set_max_bytes(kManyBytes + 1);
  EXPECT_THAT(broken(params), ElementsAre("A9"));
  params = Params();
  params.mutable_validator()->clear_pub_key_types();
  EXPECT_THAT(broken(params), ElementsAre("A9"));
}

TEST_F(ContractCheckerTest, ExtensionsBeginInTheFutureAndNeverEnd) {
  const auto broken = [this](std::int64_t from, std::int64_t to) {
    checker_ = ContractChecker();
    StartChain(ExtendedFrom(from));
    MakeBlock(1);
    ConsensusParams update;
    update.mutable_abci()->set_vote_extensions_enable_height(to);
    MakeBlockWith(2, update);
    return Broken();
  };
  EXPECT_THAT(broken(0, 0), IsEmpty()) << said_;
  EXPECT_THAT(broken(2, 2), IsEmpty()) << said_;
  EXPECT_THAT(broken(0, 3), IsEmpty()) << said_;
  EXPECT_THAT(broken(3, 0), IsEmpty()) << said_;
  EXPECT_THAT(broken(3, 4), IsEmpty()) << said_;
  EXPECT_THAT(broken(0, -1), ElementsAre("A9"));
  EXPECT_THAT(broken(0, 2), ElementsAre("A9"));
  EXPECT_THAT(broken(2, 0), ElementsAre("A9"));
  EXPECT_THAT(broken(2, 3), ElementsAre("A9"));
  EXPECT_THAT(broken(3, 2), ElementsAre("A9"));
}

TEST_F(ContractCheckerTest, AParameterThatIsNotUpdatedStays) {
  StartChain(ExtendedFrom(2));
  ConsensusParams update;
  update.mutable_validator()->add_pub_key_types("secp256k1");
  MakeBlockWith(1, update);
  Call(ExtendOf(2), ExtendedBy("x"));
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  FinalizeWith({Validator('b', 1)}, 2);
  EXPECT_THAT(Broken(), ElementsAre("A7"));
}

TEST_F(ContractCheckerTest, AChainBeginsByTheSameRules) {
  ResponseInitChain answer;
  *answer.add_validators() = Validator('b', 5);
  *answer.add_validators() = Validator('c', 5);
  answer.mutable_consensus_params()
      ->mutable_abci()
      ->set_vote_extensions_enable_height(1);
  ConnectAt(0);
  Call(Genesis(), answer);
  Call(ExtendOf(1), ExtendedBy("x"));
  Finalize(BlockOf(1));
  Commit();
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  Finalize(BlockOf(2));  // with the vote of who is none any more
  EXPECT_THAT(Broken(), ElementsAre("N7"));

  const auto broken = [this](const RequestInitChain& request,
                             const ResponseInitChain& its) {
    checker_ = ContractChecker();
    ConnectAt(0);
    Call(request, its);
    return Broken();
  };
  answer.mutable_validators(1)->set_power(0);
  EXPECT_THAT(broken(Genesis(), answer), ElementsAre("A7"));
  RequestInitChain nobody = Genesis();
  nobody.clear_validators();
  EXPECT_THAT(broken(nobody, ResponseInitChain()), ElementsAre("A7"));
  answer = ResponseInitChain();
  answer.mutable_consensus_params()->mutable_block();
  EXPECT_THAT(broken(Genesis(), answer), ::testing::Contains("A9"));
}

TEST_F(ContractCheckerTest, ABlockHasWhatPrepareProposalAnswered) {
  StartChain();
  ResponsePrepareProposal prepared;
  prepared.add_txs("a=1");
  Call(PrepareOf(1), prepared);
  Call(ProcessOf(1, {"a=2"}), Verdict(ResponseProcessProposal::ACCEPT));
  EXPECT_THAT(Broken(), ElementsAre("N8"));
  Finalize(BlockOf(1, {"a=1", "b=1"}));
  EXPECT_THAT(Broken(), ElementsAre("N8"));
}

// The first block has the time of the genesis, whenever it is made.
TEST_F(ContractCheckerTest, AnOlderProposalMayBeDecidedAfterARestart) {
  StartChain();
  ResponsePrepareProposal prepared;
  prepared.add_txs("a=1");
  Call(PrepareOf(1), prepared);
  StartChain();
  prepared.set_txs(0, "b=1");
  Call(PrepareOf(1), prepared);
  Call(ProcessOf(1, {"a=1"}), Verdict(ResponseProcessProposal::ACCEPT));
  MakeBlock(1, {"a=1"});
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, AnothersBlockMayHaveAnything) {
  StartChain();
  Call(PrepareOf(1), ResponsePrepareProposal());
  RequestFinalizeBlock block = BlockOf(1, {"a=1"});
  block.set_proposer_address("somebody else");
  Finalize(block);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, NoCheckTxIsInFlightOverCommit) {
  StartChain();
  Finalize(BlockOf(1));
  const auto check = Begin(RequestCheckTx());
  const auto commit = Begin(RequestCommit());
  EXPECT_THAT(Broken(), ElementsAre("N9"));
  End(check, ResponseCheckTx());
  Begin(RequestCheckTx());
  EXPECT_THAT(Broken(), ElementsAre("N9"));
  End(commit, ResponseCommit());
  Call(RequestCheckTx(), ResponseCheckTx());
  EXPECT_THAT(Broken(), IsEmpty());
}

TEST_F(ContractCheckerTest, AnApplicationWithAPoolIsAskedAnyTime) {
  StartChain();
  Call(RequestReapTxs(), ResponseReapTxs());
  Finalize(BlockOf(1));
  Begin(RequestCheckTx());
  Commit();
  EXPECT_THAT(Broken(), IsEmpty());
}

TEST_F(ContractCheckerTest, AfterAFailureTheNodeAsksInfo) {
  StartChain();
  Fail(Begin(BlockOf(1)));
  Call(RequestInfo(), InfoOf(0));
  Fail(Begin(BlockOf(1)));
  EXPECT_THAT(Broken(), IsEmpty());
  Finalize(BlockOf(1));
  EXPECT_THAT(Broken(), ElementsAre("N10"));
}

TEST_F(ContractCheckerTest, AnApplicationOfAnotherChainIsLeftAlone) {
  StartChain();
  MakeBlock(1);
  ResponseInfo other = InfoOf(1);
  other.set_last_block_app_hash("other");
  Connect();
  Call(RequestInfo(), other);
  Call(RequestInfo(), other);
  EXPECT_THAT(Broken(), IsEmpty());
  Finalize(BlockOf(2));
  EXPECT_THAT(Broken(), ElementsAre("N10"));
}

TEST_F(ContractCheckerTest, InfoTellsWhatIsCommitted) {
  StartChain();
  MakeBlock(1);
  Finalize(BlockOf(2));
  Call(RequestInfo(), InfoOf(2));
  EXPECT_THAT(Broken(), ElementsAre("A1"));
  Call(RequestInfo(), InfoOf(0));
  EXPECT_THAT(Broken(), ElementsAre("A1"));
  ResponseInfo other = InfoOf(1);
  other.set_last_block_app_hash("staged");
  Call(RequestInfo(), other);
  EXPECT_THAT(Broken(), ElementsAre("A1"));
  Call(RequestInfo(), InfoOf(-1));
  EXPECT_THAT(Broken(), ElementsAre("A1"));
  ConnectAt(-1);
  EXPECT_THAT(Broken(), ElementsAre("A1"));
}

TEST_F(ContractCheckerTest, InfoOnTheNextConnectionTellsWhatIsCommitted) {
  StartChain();
  MakeBlock(1);
  Finalize(BlockOf(2));
  ConnectAt(2);
  EXPECT_THAT(Broken(), ElementsAre("A1"));
}

TEST_F(ContractCheckerTest, BesideCommitInfoTellsEitherHeight) {
  StartChain();
  MakeBlock(1);
  Finalize(BlockOf(2));
  const auto early = Begin(RequestInfo());
  const auto commit = Begin(RequestCommit());
  Call(RequestInfo(), InfoOf(1));
  Call(RequestInfo(), InfoOf(2));
  Call(RequestQuery(), Told(2));
  End(commit, ResponseCommit());
  End(early, InfoOf(1));
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  Call(RequestInfo(), InfoOf(1));
  EXPECT_THAT(Broken(), ElementsAre("A1"));
  Call(PrepareOf(3), ResponsePrepareProposal());
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, QueryTellsWhatIsCommitted) {
  StartChain();
  MakeBlock(1);
  Finalize(BlockOf(2));
  Call(RequestQuery(), Told(1));
  EXPECT_THAT(Broken(), IsEmpty());
  Call(RequestQuery(), Told(2));
  EXPECT_THAT(Broken(), ElementsAre("A1"));
}

TEST_F(ContractCheckerTest, AfterACutCommitEitherHeightIsTold) {
  StartChain();
  MakeBlock(1);
  Finalize(BlockOf(2));
  Begin(RequestCommit());
  Disconnect();
  ConnectAt(2);
  MakeBlock(3);
  Finalize(BlockOf(4));
  Begin(RequestCommit());
  Disconnect();
  ConnectAt(3);
  // It was still at it, and says so to the block that is sent again.
  Fail(Begin(BlockOf(4)));
  Call(RequestInfo(), InfoOf(4));
  MakeBlock(5);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, AfterAFailedCommitTheNextBlockShowsThatItWasDone) {
  StartChain();
  MakeBlock(1);
  Finalize(BlockOf(2));
  Fail(Begin(RequestCommit()));
  Call(RequestInfo(), InfoOf(1));
  Call(PrepareOf(3), ResponsePrepareProposal());
  MakeBlock(3);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, ProposalsKeepToTheSizeAskedFor) {
  StartChain();
  RequestPrepareProposal request = PrepareOf(1);
  request.set_max_tx_bytes(132);
  ResponsePrepareProposal answer;
  answer.add_txs(std::string(127, 'x'));
  answer.add_txs("x");
  Call(request, answer);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  answer.set_txs(0, std::string(128, 'x'));
  answer.mutable_txs()->RemoveLast();
  request.set_max_tx_bytes(131);
  Call(request, answer);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  request.set_max_tx_bytes(130);
  Call(request, answer);
  EXPECT_THAT(Broken(), ElementsAre("A2"));
}

TEST_F(ContractCheckerTest, VerdictsAreNotUnknown) {
  StartChain(ExtendedFrom(1));
  Call(ProcessOf(1), ResponseProcessProposal());
  EXPECT_THAT(Broken(), ElementsAre("A3"));
  Call(VerifyOf(1), ResponseVerifyVoteExtension());
  EXPECT_THAT(Broken(), ElementsAre("A3"));
}

TEST_F(ContractCheckerTest, AnApplicationAcceptsWhatItPrepared) {
  StartChain();
  Call(ProcessOf(1, {"another's"}), Verdict(ResponseProcessProposal::REJECT));
  EXPECT_THAT(Broken(), IsEmpty());
  Call(PrepareOf(1), ResponsePrepareProposal());
  Call(ProcessOf(1), Verdict(ResponseProcessProposal::REJECT));
  EXPECT_THAT(Broken(), ElementsAre("A4"));
}

TEST_F(ContractCheckerTest, EachTransactionHasOneResult) {
  StartChain();
  Call(BlockOf(1, {"a=1"}), ResultOf(BlockOf(1)));
  EXPECT_THAT(Broken(), ElementsAre("A5"));
}

TEST_F(ContractCheckerTest, ABlockThatComesAgainIsAnsweredTheSame) {
  StartChain();
  const RequestFinalizeBlock block = BlockOf(1, {"a=1"});
  Finalize(block);
  StartChain();
  ResponseFinalizeBlock answer = ResultOf(block);
  answer.mutable_tx_results(0)->set_log("of no matter");
  Call(block, answer);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  StartChain();
  answer.mutable_tx_results(0)->set_data("of matter");
  Call(block, answer);
  EXPECT_THAT(Broken(), ElementsAre("A6"));
  StartChain();
  answer = ResultOf(block);
  answer.set_app_hash("other");
  Call(block, answer);
  EXPECT_THAT(Broken(), ElementsAre("A6"));
}

TEST_F(ContractCheckerTest, UpdatesOfValidatorsKeepTheRules) {
  StartChain();
  FinalizeWith({Validator('b', 5), Validator('a', 0)});
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  const auto broken = [this](const std::vector<ValidatorUpdate>& updates) {
    checker_ = ContractChecker();
    StartChain();
    FinalizeWith(updates);
    return Broken();
  };
  EXPECT_THAT(broken({Validator('a', -1)}), ElementsAre("A7"));
  EXPECT_THAT(broken({Validator('a', 1), Validator('a', 2)}),
              ElementsAre("A7"));
  EXPECT_THAT(broken({Validator('b', 0)}), ElementsAre("A7"));
  EXPECT_THAT(broken({Validator('a', 0)}), ElementsAre("A7"));
  // With the 10 of 'a'.
  constexpr std::int64_t kMost = (std::int64_t{1} << 60) - 11;
  EXPECT_THAT(broken({Validator('b', kMost)}), IsEmpty()) << said_;
  EXPECT_THAT(broken({Validator('b', kMost + 1)}), ElementsAre("A7"));
  ValidatorUpdate update = Validator('b', 1);
  update.mutable_pub_key()->set_ed25519("short");
  EXPECT_THAT(broken({update}), ElementsAre("A7"));
  update.mutable_pub_key()->set_secp256k1(std::string(33, 'b'));
  EXPECT_THAT(broken({update}), ElementsAre("A7"));
}

TEST_F(ContractCheckerTest, EachKindOfKeyHasItsLength) {
  ConsensusParams params = Params();
  params.mutable_validator()->add_pub_key_types("secp256k1");
  StartChain(params);
  ValidatorUpdate update = Validator('b', 1);
  update.mutable_pub_key()->set_secp256k1(std::string(33, 'b'));
  FinalizeWith({update});
  Commit();
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  update.mutable_pub_key()->set_secp256k1(std::string(32, 'b'));
  FinalizeWith({update}, 2);
  EXPECT_THAT(Broken(), ElementsAre("A7"));
}

TEST_F(ContractCheckerTest, ValidatorsOfCommittedBlocksAreMembers) {
  StartChain();
  FinalizeWith({Validator('b', 5)});
  Commit();
  const RequestFinalizeBlock block = BlockOf(2);
  ResponseFinalizeBlock answer = ResultOf(block);
  *answer.add_validator_updates() = Validator('b', 0);
  Call(block, answer);
  Commit();
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
  answer.set_app_hash(HashAfter(3));
  Call(BlockOf(3), answer);
  EXPECT_THAT(Broken(), ElementsAre("A7"));
}

TEST_F(ContractCheckerTest, WhatWasCommittedIsDurable) {
  StartChain();
  MakeBlock(1);
  MakeBlock(2);
  ConnectAt(1);
  EXPECT_THAT(Broken(), ElementsAre("A8"));
  MakeBlock(2);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

TEST_F(ContractCheckerTest, OlderStateIsReplayedWhereItIsRestored) {
  ContractChecker lenient({.allow_older_state = true});
  CallRecorder recorder("test", [&lenient](const v1::TraceRecord& record) {
    lenient.Take(record);
  });
  for (int i = 0; i < 2; ++i) {
    connection_ = recorder.Connected();
    const auto call = [&recorder, this](const auto& request,
                                        const auto& answer) {
      recorder.Ended(recorder.Began(connection_, request),
                     absl::StatusOr<std::decay_t<decltype(answer)>>(answer));
    };
    call(RequestInfo(), InfoOf(0));
    call(Genesis(), ResponseInitChain());
    call(BlockOf(1), ResultOf(BlockOf(1)));
    call(RequestCommit(), ResponseCommit());
  }
  EXPECT_THAT(lenient.TakeViolations(), IsEmpty());
}

TEST_F(ContractCheckerTest, SnapshotsReplaceWhatIsCommitted) {
  ConnectAt(0);
  Call(tendermint::abci::RequestApplySnapshotChunk(),
       ResponseApplySnapshotChunk());
  Call(RequestInfo(), InfoOf(9));
  MakeBlock(10);
  EXPECT_THAT(Broken(), IsEmpty()) << said_;
}

}  // namespace
}  // namespace tandem::abci

// The app contract against the tables of CometBFT 0.38 to 0.40: what a real
// engine or application has on its side of the socket.

#include <map>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include "tendermint/abci/types.pb.h"

namespace tendermint::abci {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::DescriptorPool;
using ::google::protobuf::EnumDescriptor;
using ::google::protobuf::FieldDescriptor;

// "name=number:type" in the order of the numbers, "[]" for repeated.
std::string FieldsOf(const std::string& message) {
  const Descriptor* descriptor =
      DescriptorPool::generated_pool()->FindMessageTypeByName("tendermint." +
                                                              message);
  if (descriptor == nullptr) return "no such message";
  std::map<int, std::string> fields;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor& field = *descriptor->field(i);
    std::string type = field.type_name();
    if (field.message_type() != nullptr) type = field.message_type()->name();
    if (field.enum_type() != nullptr) type = field.enum_type()->name();
    fields[field.number()] =
        absl::StrCat(field.name(), "=", field.number(), ":", type,
                     field.is_repeated() ? "[]" : "");
  }
  std::string all;
  for (const auto& [number, text] : fields) {
    absl::StrAppend(&all, all.empty() ? "" : " ", text);
  }
  return all;
}

std::string ValuesOf(const std::string& name) {
  const EnumDescriptor* descriptor =
      DescriptorPool::generated_pool()->FindEnumTypeByName("tendermint." +
                                                           name);
  if (descriptor == nullptr) return "no such enum";
  std::string all;
  for (int i = 0; i < descriptor->value_count(); ++i) {
    absl::StrAppend(&all, all.empty() ? "" : " ", descriptor->value(i)->name(),
                    "=", descriptor->value(i)->number());
  }
  return all;
}

struct Row {
  const char* name;
  const char* fields;
};

class MessageTableTest : public ::testing::TestWithParam<Row> {};

TEST_P(MessageTableTest, HasTheNumbersAndTypesOfTheTable) {
  EXPECT_EQ(FieldsOf(GetParam().name), GetParam().fields);
}

constexpr Row kMessages[] = {
    {"abci.RequestEcho", "message=1:bytes"},
    {"abci.ResponseEcho", "message=1:bytes"},
    {"abci.RequestFlush", ""},
    {"abci.ResponseFlush", ""},
    {"abci.RequestCommit", ""},
    {"abci.RequestListSnapshots", ""},
    {"abci.RequestInfo",
     "version=1:string block_version=2:uint64 p2p_version=3:uint64 "
     "abci_version=4:string"},
    {"abci.ResponseInfo",
     "data=1:bytes version=2:string app_version=3:uint64 "
     "last_block_height=4:int64 last_block_app_hash=5:bytes"},
    {"abci.RequestInitChain",
     "time=1:Timestamp chain_id=2:bytes consensus_params=3:ConsensusParams "
     "validators=4:ValidatorUpdate[] app_state_bytes=5:bytes "
     "initial_height=6:int64"},
    {"abci.ResponseInitChain",
     "consensus_params=1:ConsensusParams validators=2:ValidatorUpdate[] "
     "app_hash=3:bytes"},
    {"abci.RequestQuery",
     "data=1:bytes path=2:bytes height=3:int64 prove=4:bool"},
    {"abci.ResponseQuery",
     "code=1:uint32 log=3:bytes info=4:bytes index=5:int64 key=6:bytes "
     "value=7:bytes proof_ops=8:ProofOps height=9:int64 codespace=10:string"},
    {"abci.RequestCheckTx", "tx=1:bytes type=2:CheckTxType"},
    {"abci.ResponseCheckTx",
     "code=1:uint32 data=2:bytes log=3:bytes info=4:bytes gas_wanted=5:int64 "
     "gas_used=6:int64 events=7:Event[] codespace=8:string"},
    {"abci.ExecTxResult",
     "code=1:uint32 data=2:bytes log=3:bytes info=4:bytes gas_wanted=5:int64 "
     "gas_used=6:int64 events=7:Event[] codespace=8:string"},
    {"abci.RequestInsertTx", "tx=1:bytes"},
    {"abci.ResponseInsertTx", "code=1:uint32"},
    {"abci.RequestReapTxs", "max_bytes=1:uint64 max_gas=2:uint64"},
    {"abci.ResponseReapTxs", "txs=1:bytes[]"},
    {"abci.ResponseCommit", "retain_height=3:int64"},
    {"abci.ResponseListSnapshots", "snapshots=1:Snapshot[]"},
    {"abci.RequestOfferSnapshot", "snapshot=1:Snapshot app_hash=2:bytes"},
    {"abci.ResponseOfferSnapshot", "result=1:Result"},
    {"abci.RequestLoadSnapshotChunk",
     "height=1:uint64 format=2:uint32 chunk=3:uint32"},
    {"abci.ResponseLoadSnapshotChunk", "chunk=1:bytes"},
    {"abci.RequestApplySnapshotChunk",
     "index=1:uint32 chunk=2:bytes sender=3:string"},
    {"abci.ResponseApplySnapshotChunk",
     "result=1:Result refetch_chunks=2:uint32[] reject_senders=3:string[]"},
    {"abci.RequestPrepareProposal",
     "max_tx_bytes=1:int64 txs=2:bytes[] "
     "local_last_commit=3:ExtendedCommitInfo misbehavior=4:Misbehavior[] "
     "height=5:int64 time=6:Timestamp next_validators_hash=7:bytes "
     "proposer_address=8:bytes"},
    {"abci.ResponsePrepareProposal", "txs=1:bytes[]"},
    {"abci.RequestProcessProposal",
     "txs=1:bytes[] proposed_last_commit=2:CommitInfo "
     "misbehavior=3:Misbehavior[] hash=4:bytes height=5:int64 "
     "time=6:Timestamp next_validators_hash=7:bytes proposer_address=8:bytes"},
    {"abci.ResponseProcessProposal", "status=1:ProposalStatus"},
    {"abci.RequestFinalizeBlock",
     "txs=1:bytes[] decided_last_commit=2:CommitInfo "
     "misbehavior=3:Misbehavior[] hash=4:bytes height=5:int64 "
     "time=6:Timestamp next_validators_hash=7:bytes proposer_address=8:bytes"},
    {"abci.ResponseFinalizeBlock",
     "events=1:Event[] tx_results=2:ExecTxResult[] "
     "validator_updates=3:ValidatorUpdate[] "
     "consensus_param_updates=4:ConsensusParams app_hash=5:bytes"},
    {"abci.RequestExtendVote",
     "hash=1:bytes height=2:int64 time=3:Timestamp txs=4:bytes[] "
     "proposed_last_commit=5:CommitInfo misbehavior=6:Misbehavior[] "
     "next_validators_hash=7:bytes proposer_address=8:bytes"},
    {"abci.ResponseExtendVote", "vote_extension=1:bytes"},
    {"abci.RequestVerifyVoteExtension",
     "hash=1:bytes validator_address=2:bytes height=3:int64 "
     "vote_extension=4:bytes"},
    {"abci.ResponseVerifyVoteExtension", "status=1:VerifyStatus"},
    {"abci.Event", "type=1:bytes attributes=2:EventAttribute[]"},
    {"abci.EventAttribute", "key=1:bytes value=2:bytes index=3:bool"},
    {"abci.Validator", "address=1:bytes power=3:int64"},
    {"abci.ValidatorUpdate", "pub_key=1:PublicKey power=2:int64"},
    {"abci.CommitInfo", "round=1:int32 votes=2:VoteInfo[]"},
    {"abci.VoteInfo", "validator=1:Validator block_id_flag=3:BlockIDFlag"},
    {"abci.ExtendedCommitInfo", "round=1:int32 votes=2:ExtendedVoteInfo[]"},
    {"abci.ExtendedVoteInfo",
     "validator=1:Validator vote_extension=3:bytes "
     "extension_signature=4:bytes block_id_flag=5:BlockIDFlag"},
    {"abci.Misbehavior",
     "type=1:MisbehaviorType validator=2:Validator height=3:int64 "
     "time=4:Timestamp total_voting_power=5:int64"},
    {"abci.Snapshot",
     "height=1:uint64 format=2:uint32 chunks=3:uint32 hash=4:bytes "
     "metadata=5:bytes"},
    {"abci.ResponseException", "error=1:bytes"},
    {"abci.Request",
     "echo=1:RequestEcho flush=2:RequestFlush info=3:RequestInfo "
     "init_chain=5:RequestInitChain query=6:RequestQuery "
     "check_tx=8:RequestCheckTx commit=11:RequestCommit "
     "list_snapshots=12:RequestListSnapshots "
     "offer_snapshot=13:RequestOfferSnapshot "
     "load_snapshot_chunk=14:RequestLoadSnapshotChunk "
     "apply_snapshot_chunk=15:RequestApplySnapshotChunk "
     "prepare_proposal=16:RequestPrepareProposal "
     "process_proposal=17:RequestProcessProposal "
     "extend_vote=18:RequestExtendVote "
     "verify_vote_extension=19:RequestVerifyVoteExtension "
     "finalize_block=20:RequestFinalizeBlock insert_tx=21:RequestInsertTx "
     "reap_txs=22:RequestReapTxs"},
    {"abci.Response",
     "exception=1:ResponseException echo=2:ResponseEcho "
     "flush=3:ResponseFlush info=4:ResponseInfo "
     "init_chain=6:ResponseInitChain query=7:ResponseQuery "
     "check_tx=9:ResponseCheckTx commit=12:ResponseCommit "
     "list_snapshots=13:ResponseListSnapshots "
     "offer_snapshot=14:ResponseOfferSnapshot "
     "load_snapshot_chunk=15:ResponseLoadSnapshotChunk "
     "apply_snapshot_chunk=16:ResponseApplySnapshotChunk "
     "prepare_proposal=17:ResponsePrepareProposal "
     "process_proposal=18:ResponseProcessProposal "
     "extend_vote=19:ResponseExtendVote "
     "verify_vote_extension=20:ResponseVerifyVoteExtension "
     "finalize_block=21:ResponseFinalizeBlock insert_tx=22:ResponseInsertTx "
     "reap_txs=23:ResponseReapTxs"},
    {"crypto.PublicKey",
     "ed25519=1:bytes secp256k1=2:bytes bls12381=3:bytes mldsa65=4:bytes "
     "secp256k1eth=5:bytes"},
    {"crypto.ProofOps", "ops=1:ProofOp[]"},
    {"crypto.ProofOp", "type=1:string key=2:bytes data=3:bytes"},
    {"types.ConsensusParams",
     "block=1:BlockParams evidence=2:EvidenceParams "
     "validator=3:ValidatorParams version=4:VersionParams abci=5:ABCIParams "
     "authority=6:AuthorityParams"},
    {"types.BlockParams", "max_bytes=1:int64 max_gas=2:int64"},
    {"types.EvidenceParams",
     "max_age_num_blocks=1:int64 max_age_duration=2:Duration "
     "max_bytes=3:int64"},
    {"types.ValidatorParams", "pub_key_types=1:string[]"},
    {"types.VersionParams", "app=1:uint64"},
    {"types.ABCIParams", "vote_extensions_enable_height=1:int64"},
    {"types.AuthorityParams", "authority=1:bytes"},
    {"types.SimpleValidator", "pub_key=1:PublicKey voting_power=2:int64"},
};

INSTANTIATE_TEST_SUITE_P(AppContract, MessageTableTest,
                         ::testing::ValuesIn(kMessages), [](const auto& row) {
                           std::string name = row.param.name;
                           name.erase(
                               std::remove(name.begin(), name.end(), '.'),
                               name.end());
                           return name;
                         });

TEST(EnumTableTest, HasTheNumbersOfTheTable) {
  EXPECT_EQ(ValuesOf("abci.CheckTxType"), "NEW=0 RECHECK=1");
  EXPECT_EQ(ValuesOf("abci.ResponseOfferSnapshot.Result"),
            "UNKNOWN=0 ACCEPT=1 ABORT=2 REJECT=3 REJECT_FORMAT=4 "
            "REJECT_SENDER=5");
  EXPECT_EQ(ValuesOf("abci.ResponseApplySnapshotChunk.Result"),
            "UNKNOWN=0 ACCEPT=1 ABORT=2 RETRY=3 RETRY_SNAPSHOT=4 "
            "REJECT_SNAPSHOT=5");
  EXPECT_EQ(ValuesOf("abci.ResponseProcessProposal.ProposalStatus"),
            "UNKNOWN=0 ACCEPT=1 REJECT=2");
  EXPECT_EQ(ValuesOf("abci.ResponseVerifyVoteExtension.VerifyStatus"),
            "UNKNOWN=0 ACCEPT=1 REJECT=2");
  EXPECT_EQ(ValuesOf("abci.MisbehaviorType"),
            "UNKNOWN=0 DUPLICATE_VOTE=1 LIGHT_CLIENT_ATTACK=2");
  EXPECT_EQ(ValuesOf("types.BlockIDFlag"),
            "BLOCK_ID_FLAG_UNKNOWN=0 BLOCK_ID_FLAG_ABSENT=1 "
            "BLOCK_ID_FLAG_COMMIT=2 BLOCK_ID_FLAG_NIL=3");
}

TEST(ServiceTableTest, HasTheEighteenMethodsOfTheEngine) {
  const auto* service = DescriptorPool::generated_pool()->FindServiceByName(
      "tendermint.abci.ABCI");
  ASSERT_NE(service, nullptr);
  std::vector<std::string> names;
  for (int i = 0; i < service->method_count(); ++i) {
    const auto* method = service->method(i);
    names.push_back(method->name());
    EXPECT_EQ(method->input_type()->name(), "Request" + method->name());
    EXPECT_EQ(method->output_type()->name(), "Response" + method->name());
  }
  EXPECT_THAT(
      names,
      ::testing::UnorderedElementsAre(
          "Echo", "Flush", "Info", "Query", "CheckTx", "InsertTx", "ReapTxs",
          "InitChain", "PrepareProposal", "ProcessProposal", "ExtendVote",
          "VerifyVoteExtension", "FinalizeBlock", "Commit", "ListSnapshots",
          "LoadSnapshotChunk", "OfferSnapshot", "ApplySnapshotChunk"));
}

// Requests as abci-cli was seen to send them.
Request FromHex(std::string_view hex) {
  Request request;
  EXPECT_TRUE(
      request.ParseFromString(absl::HexStringToBytes(std::string(hex))));
  return request;
}

std::string ToHex(const Request& request) {
  return absl::BytesToHexString(request.SerializeAsString());
}

constexpr char kTimeField[] = "320b088092b8c398feffffff01";
// The time that Go has for "unset": year 1.
constexpr std::int64_t kZeroTime = -62135596800;

TEST(GoldenBytesTest, ReadsCheckTx) {
  const Request request = FromHex("42050a03613d31");
  EXPECT_EQ(request.check_tx().tx(), "a=1");
  EXPECT_EQ(ToHex(request), "42050a03613d31");
}

TEST(GoldenBytesTest, ReadsEmptyRequests) {
  EXPECT_TRUE(FromHex("1a00").has_info());
  EXPECT_TRUE(FromHex("5a00").has_commit());
  EXPECT_TRUE(FromHex("1200").has_flush());
}

TEST(GoldenBytesTest, ReadsQuery) {
  const Request request = FromHex("320b0a016112062f73746f7265");
  EXPECT_EQ(request.query().data(), "a");
  EXPECT_EQ(request.query().path(), "/store");
  EXPECT_EQ(ToHex(request), "320b0a016112062f73746f7265");
}

TEST(GoldenBytesTest, ReadsFinalizeBlockOfYearOne) {
  const std::string hex = absl::StrCat("a201140a03613d311200", kTimeField);
  const Request request = FromHex(hex);
  const RequestFinalizeBlock& block = request.finalize_block();
  EXPECT_THAT(block.txs(), ::testing::ElementsAre("a=1"));
  EXPECT_TRUE(block.has_decided_last_commit());
  EXPECT_EQ(block.time().seconds(), kZeroTime);
  EXPECT_EQ(ToHex(request), hex);
}

TEST(GoldenBytesTest, ReadsProcessProposal) {
  const std::string hex = absl::StrCat("8a01140a03613d311200", kTimeField);
  const Request request = FromHex(hex);
  EXPECT_THAT(request.process_proposal().txs(), ::testing::ElementsAre("a=1"));
  EXPECT_EQ(ToHex(request), hex);
}

TEST(GoldenBytesTest, ReadsPrepareProposal) {
  const std::string hex =
      absl::StrCat("820118088080041203613d311a00", kTimeField);
  const Request request = FromHex(hex);
  EXPECT_EQ(request.prepare_proposal().max_tx_bytes(), 65536);
  EXPECT_THAT(request.prepare_proposal().txs(), ::testing::ElementsAre("a=1"));
  EXPECT_EQ(ToHex(request), hex);
}

// Engines send these groups although they are empty, and applications hash the
// bytes.
TEST(GoldenBytesTest, KeepsEmptyGroupsOfParameters) {
  const std::string bytes = absl::HexStringToBytes("22002a003200");
  tendermint::types::ConsensusParams params;
  ASSERT_TRUE(params.ParseFromString(bytes));
  EXPECT_TRUE(params.has_version());
  EXPECT_TRUE(params.has_abci());
  EXPECT_TRUE(params.has_authority());
  EXPECT_EQ(params.SerializeAsString(), bytes);
}

// CometBFT 1.0 has a group of two durations where 0.39 has a text.
TEST(GoldenBytesTest, KeepsTheParametersOfTheNextEngine) {
  const std::string bytes = absl::HexStringToBytes("32080a0210ff12021001");
  tendermint::types::ConsensusParams params;
  ASSERT_TRUE(params.ParseFromString(bytes));
  EXPECT_EQ(params.SerializeAsString(), bytes);
}

TEST(GoldenBytesTest, ReadsTextThatIsNotUtf8) {
  ResponseCheckTx answer;
  answer.set_log("\xff\xfe");
  EventAttribute& attribute = *answer.add_events()->add_attributes();
  attribute.set_key("\xc3");
  attribute.set_value("\x80");
  ResponseCheckTx read;
  ASSERT_TRUE(read.ParseFromString(answer.SerializeAsString()));
  EXPECT_EQ(read.log(), "\xff\xfe");
  EXPECT_EQ(read.events(0).attributes(0).value(), "\x80");
}

}  // namespace
}  // namespace tendermint::abci

#include "node/node_service.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/protobuf/util/time_util.h"
#include "rpc/base/sha256.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/version.h"

namespace tandem::node {
namespace {

using google::protobuf::util::TimeUtil;

constexpr absl::Duration kDefaultWait = absl::Seconds(10);
constexpr absl::Duration kLongestWait = absl::Hours(1);
// An empty transaction takes two bytes of a request, and hundreds of ours.
constexpr int kMaxBatch = 65'536;
constexpr std::size_t kHashBytes = 32;
// Of a block that is kept for who asks for its transactions one by one.
constexpr std::size_t kMostKeptBytes = 16 << 20;

template <typename Request>
absl::Duration WaitOf(const Request& request) {
  if (!request.has_timeout()) return kDefaultWait;
  // Never negative, never beyond a year, whatever the client sent.
  const std::int64_t seconds = std::clamp<std::int64_t>(
      request.timeout().seconds(), 0, absl::ToInt64Seconds(kLongestWait));
  return absl::Seconds(seconds) +
         absl::Nanoseconds(std::max(request.timeout().nanos(), 0));
}

// When to answer: early enough for the answer to reach the client.
absl::Time AnswerBy(const rpc::Call& call, absl::Duration timeout) {
  const absl::Time now = absl::Now();
  return now + std::min(timeout, (call.deadline() - now) * 0.9);
}

absl::StatusOr<v1::SubmitReply> ReplyOf(v1::BatchResult& result) {
  if (result.status() != 0) {
    return absl::Status(static_cast<absl::StatusCode>(result.status()),
                        result.message());
  }
  v1::SubmitReply reply;
  *reply.mutable_result() = std::move(*result.mutable_result());
  return reply;
}

v1::QueryReply ReplyOf(tendermint::abci::ResponseQuery& answer) {
  v1::QueryReply reply;
  reply.set_code(answer.code());
  reply.set_log(std::move(*answer.mutable_log()));
  reply.set_info(std::move(*answer.mutable_info()));
  reply.set_index(answer.index());
  reply.set_key(std::move(*answer.mutable_key()));
  reply.set_value(std::move(*answer.mutable_value()));
  for (auto& op : *answer.mutable_proof_ops()->mutable_ops()) {
    v1::ProofOp& out = *reply.add_proof_ops();
    out.set_type(std::move(*op.mutable_type()));
    out.set_key(std::move(*op.mutable_key()));
    out.set_data(std::move(*op.mutable_data()));
  }
  reply.set_height(answer.height());
  reply.set_codespace(answer.codespace());
  return reply;
}

absl::Status CheckHeight(std::int64_t height, const Executor::Tip& tip) {
  if (height < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a height of ", height, " is negative"));
  }
  if (height > 0 && tip.base_height > 0 && height < tip.base_height) {
    return absl::NotFoundError(absl::StrCat("this node does not keep block ",
                                            height, "; the oldest it keeps is ",
                                            tip.base_height));
  }
  return absl::OkStatus();
}

}  // namespace

NodeService::NodeService(Node& node, BlockStore& store,
                         Subscriptions& subscriptions, const Genesis& genesis,
                         const ValidatorKey& key, std::string instance_id)
    : node_(node),
      store_(store),
      subscriptions_(subscriptions),
      genesis_(genesis),
      key_(key),
      instance_id_(std::move(instance_id)),
      started_(absl::Now()) {}

void NodeService::Start(const rpc::Call& call,
                        google::protobuf::RepeatedPtrField<std::string> txs,
                        v1::Wait wait, absl::Duration timeout,
                        Submission::Done done) {
  const auto submission =
      std::make_shared<Submission>(txs, wait, std::move(done));
  deadlines_.Add(AnswerBy(call, timeout), submission);
  node_.mempool().Submit(std::move(txs), submission);
}

void NodeService::Submit(rpc::Call& call, const v1::SubmitRequest& request,
                         rpc::Reply<v1::SubmitReply> reply) {
  google::protobuf::RepeatedPtrField<std::string> txs;
  *txs.Add() = request.tx();
  // Shared, because std::function wants what can be copied.
  auto answer = std::make_shared<rpc::Reply<v1::SubmitReply>>(std::move(reply));
  Start(call, std::move(txs), request.wait(), WaitOf(request),
        [answer](Submission::Results results) {
          answer->Send(ReplyOf(results[0]));
        });
}

void NodeService::SubmitBatch(rpc::Call& call,
                              const v1::SubmitBatchRequest& request,
                              rpc::Reply<v1::SubmitBatchReply> reply) {
  if (request.txs().empty()) {
    reply.Send(v1::SubmitBatchReply());
    return;
  }
  if (request.txs_size() > kMaxBatch) {
    reply.Send(absl::InvalidArgumentError(absl::StrCat(
        "the batch has ", request.txs_size(), " transactions, at most ",
        kMaxBatch, " are taken at once: hand them in in smaller batches")));
    return;
  }
  auto answer =
      std::make_shared<rpc::Reply<v1::SubmitBatchReply>>(std::move(reply));
  Start(call, request.txs(), request.wait(), WaitOf(request),
        [answer](Submission::Results results) {
          v1::SubmitBatchReply batch;
          batch.mutable_results()->Swap(&results);
          answer->Send(std::move(batch));
        });
}

void NodeService::Query(rpc::Call& call, const v1::QueryRequest& request,
                        rpc::Reply<v1::QueryReply> reply) {
  tendermint::abci::RequestQuery question;
  question.set_path(request.path());
  question.set_data(request.data());
  question.set_height(request.height());
  question.set_prove(request.prove());
  auto answer = std::make_shared<rpc::Reply<v1::QueryReply>>(std::move(reply));
  // So that the client is told that it is the application that does not answer.
  const absl::Time answer_by = AnswerBy(call, absl::InfiniteDuration());
  node_.Query(question,
              absl::Trunc(answer_by - absl::Now(), absl::Milliseconds(1)),
              [answer](absl::StatusOr<tendermint::abci::ResponseQuery> result) {
                if (result.ok()) {
                  answer->Send(ReplyOf(*result));
                } else {
                  answer->Send(result.status());
                }
              });
}

absl::StatusOr<v1::StatusReply> NodeService::Status(
    rpc::Call& call, const v1::StatusRequest& request) {
  v1::StatusReply reply;
  reply.set_version(std::string(rpc::FrameworkVersion()));
  *reply.mutable_started() =
      TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(started_));
  reply.set_chain_id(genesis_.chain_id);
  reply.set_initial_height(genesis_.initial_height);
  const Executor::Tip tip = node_.tip();
  reply.set_height(tip.height);
  reply.set_base_height(tip.base_height);
  reply.set_block_hash(tip.block_hash);
  reply.set_app_hash(tip.app_hash);
  if (tip.height > 0) *reply.mutable_block_time() = tip.time;
  *reply.mutable_app() = node_.app_status();
  *reply.mutable_mempool() = node_.mempool().GetStatus();
  reply.set_validator_address(key_.address());
  reply.set_validator_public_key(key_.public_key());
  reply.set_instance_id(instance_id_);
  return reply;
}

absl::StatusOr<v1::CommittedBlock> NodeService::GetBlock(
    rpc::Call& call, const v1::GetBlockRequest& request) {
  const Executor::Tip tip = node_.tip();
  TANDEM_RETURN_IF_ERROR(CheckHeight(request.height(), tip));
  if (tip.height == 0 && request.height() == 0) {
    return absl::NotFoundError("no block is committed yet");
  }
  if (request.height() > tip.height) {
    return absl::OutOfRangeError(absl::StrCat("block ", request.height(),
                                              " is in the future; the last is ",
                                              tip.height));
  }
  return store_.LoadCommitted(request.height() == 0 ? tip.height
                                                    : request.height());
}

absl::StatusOr<std::shared_ptr<const v1::CommittedBlock>>
NodeService::LoadAskedFor(std::int64_t height) {
  {
    rpc::MutexLock lock(asked_mu_);
    if (asked_for_ != nullptr &&
        asked_for_->block().header().height() == height) {
      return asked_for_;
    }
  }
  TANDEM_ASSIGN_OR_RETURN(v1::CommittedBlock block,
                          store_.LoadCommitted(height));
  auto loaded = std::make_shared<const v1::CommittedBlock>(std::move(block));
  rpc::MutexLock lock(asked_mu_);
  asked_for_ = loaded->ByteSizeLong() <= kMostKeptBytes ? loaded : nullptr;
  return loaded;
}

absl::StatusOr<v1::GetTransactionReply> NodeService::GetTransaction(
    rpc::Call& call, const v1::GetTransactionRequest& request) {
  const std::string& hash = request.hash();
  if (hash.size() != kHashBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a hash has ", kHashBytes, " bytes, this one ",
                     hash.size(), ": send the SHA-256 of the transaction"));
  }
  v1::GetTransactionReply reply;
  // In the order of its way, so that it is not missed as it goes.
  TANDEM_ASSIGN_OR_RETURN(const bool is_pending, IsPending(hash));
  const Executor::Tip tip = node_.tip();
  const auto place = store_.FindTransaction(hash);
  if (place.ok() && place->height <= tip.height) {
    TANDEM_ASSIGN_OR_RETURN(const auto block, LoadAskedFor(place->height));
    reply.set_state(v1::GetTransactionReply::COMMITTED);
    *reply.mutable_result() = block->results(static_cast<int>(place->index));
    return reply;
  }
  if (!place.ok() && !absl::IsNotFound(place.status())) return place.status();
  if (is_pending || place.ok()) {
    reply.set_state(v1::GetTransactionReply::PENDING);
    reply.mutable_result()->set_hash(hash);
    return reply;
  }
  return absl::NotFoundError(absl::StrCat(
      "the transaction does not wait for a block, and is in none of the "
      "blocks ",
      tip.base_height, " to ", tip.height, " that this node keeps"));
}

absl::StatusOr<bool> NodeService::IsPending(const std::string& hash) const {
  if (node_.mempool().Has(hash)) return true;
  // In a block that was saved by a node that stopped then.
  TANDEM_ASSIGN_OR_RETURN(const std::int64_t last, store_.LastHeight());
  if (last <= node_.tip().height) return false;
  const auto block = store_.LoadBlock(last);
  if (!block.ok()) return block.status();
  return std::any_of(
      block->txs().begin(), block->txs().end(),
      [&hash](const std::string& tx) { return rpc::Sha256(tx) == hash; });
}

void NodeService::Subscribe(rpc::Call& call,
                            const v1::SubscribeRequest& request,
                            rpc::Writer<v1::CommittedBlock> out) {
  const absl::Status status = CheckHeight(request.from_height(), node_.tip());
  if (!status.ok()) {
    out.Finish(status);
    return;
  }
  subscriptions_.Add(call, request.from_height(), std::move(out));
}

}  // namespace tandem::node

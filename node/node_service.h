// tandem.node.v1.Node, answered.

#ifndef TANDEM_NODE_NODE_SERVICE_H_
#define TANDEM_NODE_NODE_SERVICE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "node/block_store.h"
#include "node/genesis.h"
#include "node/node.h"
#include "node/submission.h"
#include "node/subscriptions.h"
#include "node/validator_key.h"
#include "rpc/base/mutex.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem::node {

// No method blocks a thread: what waits is answered later.
//
// Lifecycle: what it is given must outlive it, and it the server.
// Thread safety: thread-safe.
class NodeService final : public v1::NodeHandler {
 public:
  // `instance_id` is that of the server, for Status.
  NodeService(Node& node, BlockStore& store, Subscriptions& subscriptions,
              const Genesis& genesis, const ValidatorKey& key,
              std::string instance_id);

  void Submit(rpc::Call& call, const v1::SubmitRequest& request,
              rpc::Reply<v1::SubmitReply> reply) override;
  void SubmitBatch(rpc::Call& call, const v1::SubmitBatchRequest& request,
                   rpc::Reply<v1::SubmitBatchReply> reply) override;
  void Query(rpc::Call& call, const v1::QueryRequest& request,
             rpc::Reply<v1::QueryReply> reply) override;
  absl::StatusOr<v1::StatusReply> Status(
      rpc::Call& call, const v1::StatusRequest& request) override;
  absl::StatusOr<v1::CommittedBlock> GetBlock(
      rpc::Call& call, const v1::GetBlockRequest& request) override;
  absl::StatusOr<v1::GetTransactionReply> GetTransaction(
      rpc::Call& call, const v1::GetTransactionRequest& request) override;
  void Subscribe(rpc::Call& call, const v1::SubscribeRequest& request,
                 rpc::Writer<v1::CommittedBlock> out) override;

 private:
  void Start(const rpc::Call& call,
             google::protobuf::RepeatedPtrField<std::string> txs, v1::Wait wait,
             absl::Duration timeout, Submission::Done done);
  // Whether a transaction waits for a block, or is in one that is not finished.
  absl::StatusOr<bool> IsPending(const std::string& hash) const;
  // The block, which is read once for who asks for all its transactions: after
  // a call that broke a client does.
  absl::StatusOr<std::shared_ptr<const v1::CommittedBlock>> LoadAskedFor(
      std::int64_t height) ABSL_LOCKS_EXCLUDED(asked_mu_);

  Node& node_;
  BlockStore& store_;
  Subscriptions& subscriptions_;
  const Genesis& genesis_;
  const ValidatorKey& key_;
  const std::string instance_id_;
  const absl::Time started_;
  SubmissionDeadlines deadlines_;

  rpc::Mutex asked_mu_;
  std::shared_ptr<const v1::CommittedBlock> asked_for_
      ABSL_GUARDED_BY(asked_mu_);
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_NODE_SERVICE_H_

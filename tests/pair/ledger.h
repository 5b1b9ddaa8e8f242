// What clients of a pair were told, and whether it is so.

#ifndef TANDEM_TESTS_PAIR_LEDGER_H_
#define TANDEM_TESTS_PAIR_LEDGER_H_

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "rpc/base/mutex.h"
#include "tandem/node/v1/node.pb.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem {

// A chain's blocks as they come: each must follow the one before.
class ChainReader {
 public:
  // The height that comes next.
  std::int64_t next() const { return next_; }
  // The hashes of the blocks, from height 1 on.
  const std::vector<std::string>& hashes() const { return hashes_; }

  // Errors: kDataLoss, a gap, a repetition, or a block of another chain.
  absl::Status Read(const node::v1::CommittedBlock& block);

 private:
  std::int64_t next_ = 1;
  std::vector<std::string> hashes_;
};

// Records what clients were told of their transactions, and what else was found
// wrong.
//
// Thread safety: thread-safe.
class Ledger {
 public:
  // A client knows that `tx` is in the block of that height.
  void Committed(const std::string& tx, std::int64_t height)
      ABSL_LOCKS_EXCLUDED(mu_);
  // A client knows that the application refused `tx`.
  void Refused(const std::string& tx) ABSL_LOCKS_EXCLUDED(mu_);
  // Something is not as it was promised.
  void Complain(std::string what) ABSL_LOCKS_EXCLUDED(mu_);

  // Reads the whole chain, up to `height`, and complains of what is not there,
  // twice there, at another height, or there though it was refused. Returns the
  // hashes of the blocks.
  std::vector<std::string> Audit(node::v1::NodeClient& node,
                                 std::int64_t height) ABSL_LOCKS_EXCLUDED(mu_);

  std::size_t committed() const ABSL_LOCKS_EXCLUDED(mu_);
  std::size_t refused() const ABSL_LOCKS_EXCLUDED(mu_);
  // So many of the transactions that are committed.
  std::vector<std::string> Sample(std::size_t count) const
      ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<std::string> complaints() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Compare(const std::unordered_map<std::string, std::int64_t>& found)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable rpc::Mutex mu_;
  std::unordered_map<std::string, std::int64_t> committed_ ABSL_GUARDED_BY(mu_);
  std::unordered_set<std::string> refused_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> complaints_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem

#endif  // TANDEM_TESTS_PAIR_LEDGER_H_

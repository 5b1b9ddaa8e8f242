// A client that loses no transaction, whatever dies.

#ifndef TANDEM_TESTS_PAIR_PATIENT_CLIENT_H_
#define TANDEM_TESTS_PAIR_PATIENT_CLIENT_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/client/transport.h"
#include "tandem/node/v1/node.pb.h"
#include "tandem/node/v1/node.tandem.h"

namespace tandem {

// What became of a transaction.
struct Fate {
  // Of its block; 0: the application refused it.
  std::int64_t height = 0;
  // The answer to Submit said so; else the client had to ask by the hash.
  bool was_told = false;
};

// Submits one transaction at a time until its fate is known: whoever was not
// told asks by the hash, and submits again what is nowhere.
//
// Thread safety: thread-compatible.
class PatientClient {
 public:
  // `meanwhile` is called again and again while the client waits; its error
  // ends the wait. The transport outlives the client and its calls.
  PatientClient(rpc::Transport& node, std::function<absl::Status()> meanwhile);

  // Errors: that of `meanwhile`; kInternal when the node says what it may not.
  absl::StatusOr<Fate> Settle(const std::string& tx);

 private:
  absl::StatusOr<node::v1::SubmitReply> Submit(const std::string& tx);
  // Height 0: it is nowhere.
  absl::StatusOr<Fate> Ask(const std::string& tx);
  absl::Status Pause();

  node::v1::NodeClient node_;
  const std::function<absl::Status()> meanwhile_;
};

}  // namespace tandem

#endif  // TANDEM_TESTS_PAIR_PATIENT_CLIENT_H_

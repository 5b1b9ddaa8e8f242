#include "tests/pair/patient_client.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/base/sha256.h"
#include "rpc/base/status_macros.h"

namespace tandem {
namespace {

using node::v1::GetTransactionReply;
using node::v1::SubmitReply;

constexpr absl::Duration kPause = absl::Milliseconds(1);
constexpr int kCommitSeconds = 20;
constexpr absl::Duration kCallTimeout = absl::Seconds(5);

// The answer to a call in flight.
struct Answer {
  rpc::Mutex mu;
  std::optional<absl::StatusOr<SubmitReply>> reply ABSL_GUARDED_BY(mu);
};

}  // namespace

PatientClient::PatientClient(rpc::Transport& node,
                             std::function<absl::Status()> meanwhile)
    : node_(node), meanwhile_(std::move(meanwhile)) {}

absl::Status PatientClient::Pause() {
  absl::SleepFor(kPause);
  return meanwhile_();
}

absl::StatusOr<Fate> PatientClient::Settle(const std::string& tx) {
  while (true) {
    TANDEM_RETURN_IF_ERROR(meanwhile_());
    const absl::StatusOr<SubmitReply> reply = Submit(tx);
    TANDEM_RETURN_IF_ERROR(meanwhile_());
    if (reply.ok() && reply->result().code() != 0) {
      if (reply->result().height() == 0) return Fate{.was_told = true};
      return absl::InternalError(
          absl::StrCat(tx, " is in a block, and failed there"));
    }
    if (reply.ok()) {
      return Fate{.height = reply->result().height(), .was_told = true};
    }
    TANDEM_ASSIGN_OR_RETURN(const Fate fate, Ask(tx));
    if (fate.height > 0) return fate;
    TANDEM_RETURN_IF_ERROR(Pause());
  }
}

absl::StatusOr<SubmitReply> PatientClient::Submit(const std::string& tx) {
  node::v1::SubmitRequest request;
  request.set_tx(tx);
  request.set_wait(node::v1::COMMIT);
  request.mutable_timeout()->set_seconds(kCommitSeconds);
  const auto answer = std::make_shared<Answer>();
  node_.Submit(request, {.timeout = absl::Seconds(2 * kCommitSeconds)},
               [answer](absl::StatusOr<SubmitReply> reply) {
                 rpc::MutexLock lock(answer->mu);
                 answer->reply = std::move(reply);
                 answer->mu.NotifyAll();
               });
  while (true) {
    {
      rpc::MutexLock lock(answer->mu);
      const bool is_there = answer->mu.AwaitFor(
          kPause, [&answer]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
            return answer->reply.has_value();
          });
      if (is_there) return *std::move(answer->reply);
    }
    TANDEM_RETURN_IF_ERROR(meanwhile_());
  }
}

absl::StatusOr<Fate> PatientClient::Ask(const std::string& tx) {
  node::v1::GetTransactionRequest request;
  request.set_hash(rpc::Sha256(tx));
  while (true) {
    const auto found = node_.GetTransaction(request, {.timeout = kCallTimeout});
    TANDEM_RETURN_IF_ERROR(meanwhile_());
    if (absl::IsNotFound(found.status())) return Fate();
    if (found.ok() && found->state() == GetTransactionReply::COMMITTED) {
      return Fate{.height = found->result().height()};
    }
    TANDEM_RETURN_IF_ERROR(Pause());
  }
}

}  // namespace tandem

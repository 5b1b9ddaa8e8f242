#include "tests/bench/load.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tandem::bench {
namespace {

using node::v1::NodeClient;

constexpr absl::Duration kTimeout = absl::Seconds(60);

absl::Status Judge(const absl::StatusOr<node::v1::SubmitBatchReply>& reply) {
  if (!reply.ok()) return reply.status();
  for (const auto& result : reply->results()) {
    if (result.status() != 0 || result.result().height() == 0) {
      return absl::InternalError(
          absl::StrCat("a transaction was not committed: ", result.message(),
                       result.result().log()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string Transaction(std::uint64_t number) {
  return absl::StrFormat("key%013d=%047d", number, number);
}

absl::Status CommitOne(NodeClient& client, std::uint64_t number) {
  node::v1::SubmitRequest request;
  request.set_tx(Transaction(number));
  request.set_wait(node::v1::COMMIT);
  const absl::Time deadline = absl::Now() + kTimeout;
  while (true) {
    const auto reply = client.Submit(request, {.timeout = kTimeout});
    if (reply.ok() && reply->result().height() > 0) return absl::OkStatus();
    if (reply.ok()) return absl::InternalError("a transaction was refused");
    if (!absl::IsUnavailable(reply.status()) || absl::Now() > deadline) {
      return reply.status();
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
}

Load::Load(NodeClient& client, const Options& options)
    : client_(client), options_(options) {}

absl::Status Load::Run(std::uint64_t first, std::uint64_t count) {
  const std::uint64_t end = first + count;
  for (std::uint64_t next = first; next < end;) {
    const std::uint64_t size = std::min<std::uint64_t>(
        static_cast<std::uint64_t>(options_.batch), end - next);
    WaitRoom(options_.in_flight - 1);
    Send(next, size);
    next += size;
  }
  WaitRoom(0);
  rpc::MutexLock lock(mu_);
  return status_;
}

void Load::WaitRoom(int most) {
  rpc::MutexLock lock(mu_);
  mu_.Await([this, most]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return in_flight_ <= most;
  });
}

void Load::Send(std::uint64_t first, std::uint64_t count) {
  node::v1::SubmitBatchRequest request;
  request.set_wait(node::v1::COMMIT);
  request.mutable_timeout()->set_seconds(absl::ToInt64Seconds(kTimeout));
  for (std::uint64_t i = 0; i < count; ++i) {
    request.add_txs(Transaction(first + i));
  }
  {
    rpc::MutexLock lock(mu_);
    ++in_flight_;
  }
  client_.SubmitBatch(request, {.timeout = kTimeout},
                      [this](absl::StatusOr<node::v1::SubmitBatchReply> reply) {
                        rpc::MutexLock lock(mu_);
                        --in_flight_;
                        status_.Update(Judge(reply));
                        mu_.NotifyAll();
                      });
}

}  // namespace tandem::bench

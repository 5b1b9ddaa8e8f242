#include "rpc/server/refusal_log.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "spdlog/spdlog.h"

namespace tandem::rpc {
namespace {

constexpr absl::Duration kBetweenLines = absl::Seconds(1);
// Somebody may be in thousands.
constexpr std::size_t kMaxGroups = 16;

std::string Groups(const Caller& caller) {
  std::string text;
  for (std::size_t i = 0; i < std::min(caller.groups.size(), kMaxGroups); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", caller.groups[i]);
  }
  if (caller.groups.size() > kMaxGroups) text += " ...";
  return text;
}

}  // namespace

std::string_view RefusalName(Refusal reason) {
  switch (reason) {
    case Refusal::kNotAllowedToConnect:
      return "not-allowed-to-connect";
    case Refusal::kTooManyConnections:
      return "too-many-connections";
    case Refusal::kTooManyConnectionsOfUid:
      return "too-many-connections-of-uid";
    case Refusal::kOutOfDescriptors:
      return "out-of-descriptors";
    case Refusal::kLeftEarly:
      return "left-early";
    case Refusal::kUnknownFirstBytes:
      return "unknown-first-bytes";
    case Refusal::kLateFirstBytes:
      return "late-first-bytes";
    case Refusal::kIdle:
      return "idle";
    case Refusal::kTooManyCallsForNothing:
      return "too-many-calls-for-nothing";
    case Refusal::kUnknownCaller:
      return "unknown-caller";
    case Refusal::kNotAllowedToCall:
      return "not-allowed-to-call";
    case Refusal::kTooManyCalls:
      return "too-many-calls";
    case Refusal::kTooManyQueuedCalls:
      return "too-many-queued-calls";
    case Refusal::kMessageTooLarge:
      return "message-too-large";
    case Refusal::kOutOfRequestMemory:
      return "out-of-request-memory";
    case Refusal::kReplyTooLarge:
      return "reply-too-large";
    case Refusal::kSlowReader:
      return "slow-reader";
    case Refusal::kSlowWriter:
      return "slow-writer";
  }
  return "unknown";
}

void RefusalLog::Add(Refusal reason, const Caller& caller,
                     std::string_view what) {
  const auto index = static_cast<std::size_t>(reason);
  counts_[index].fetch_add(1, std::memory_order_relaxed);
  const absl::Time now = absl::Now();
  std::uint64_t unlogged;
  {
    MutexLock lock(mu_);
    Line& line = lines_[index];
    if (now < line.next) {
      ++line.unlogged;
      return;
    }
    line.next = now + kBetweenLines;
    unlogged = std::exchange(line.unlogged, 0);
  }
  spdlog::warn(
      "{}: {} (caller: {}, gid {}, groups {}, pid {}, connection {}) [{}{}]",
      address_, what, caller.Name(), caller.gid, Groups(caller), caller.pid,
      caller.connection_id, RefusalName(reason),
      unlogged == 0 ? "" : fmt::format(", and {} more before", unlogged));
}

void RefusalLog::Flush() {
  const absl::Time now = absl::Now();
  for (std::size_t i = 0; i < kRefusals; ++i) {
    std::uint64_t unlogged;
    {
      MutexLock lock(mu_);
      Line& line = lines_[i];
      if (line.unlogged == 0 || now < line.next) continue;
      line.next = now + kBetweenLines;
      unlogged = std::exchange(line.unlogged, 0);
    }
    spdlog::warn("{}: and {} more [{}]", address_, unlogged,
                 RefusalName(static_cast<Refusal>(i)));
  }
}

bool RefusalLog::has_unlogged() const {
  MutexLock lock(mu_);
  return std::any_of(std::begin(lines_), std::end(lines_),
                     [](const Line& line) { return line.unlogged > 0; });
}

}  // namespace tandem::rpc

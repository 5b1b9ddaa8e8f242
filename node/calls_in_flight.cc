#include "node/calls_in_flight.h"

#include <string>

#include "absl/time/clock.h"
#include "google/protobuf/util/time_util.h"

namespace tandem::node {
namespace {

constexpr std::string_view kNames[CallsInFlight::kMethods] = {
    "Info",          "InitChain", "PrepareProposal", "ProcessProposal",
    "FinalizeBlock", "Commit",    "CheckTx",         "Query",
};
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

std::string_view CallsInFlight::NameOf(Method method) { return kNames[method]; }

void CallsInFlight::Begin(Method method) {
  Lane& lane = lanes_[method];
  if (lane.count.fetch_add(1, kRelaxed) == 0) {
    lane.since_unix_nanos.store(absl::GetCurrentTimeNanos(), kRelaxed);
  }
}

void CallsInFlight::End(Method method) {
  Lane& lane = lanes_[method];
  lane.since_unix_nanos.store(absl::GetCurrentTimeNanos(), kRelaxed);
  lane.count.fetch_sub(1, kRelaxed);
}

google::protobuf::RepeatedPtrField<v1::AppCalls> CallsInFlight::Get() const {
  google::protobuf::RepeatedPtrField<v1::AppCalls> all;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    const std::uint32_t count = lanes_[i].count.load(kRelaxed);
    if (count == 0) continue;
    v1::AppCalls& calls = *all.Add();
    calls.set_method(std::string(kNames[i]));
    calls.set_count(count);
    *calls.mutable_since() =
        google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
            lanes_[i].since_unix_nanos.load(kRelaxed));
  }
  return all;
}

}  // namespace tandem::node

#include "rpc/server/admin_service.h"

#include <dirent.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "rpc/server/caller_info.h"

namespace tandem::rpc {
namespace {

std::uint64_t DescriptorLimit() {
  rlimit limit;
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

// All of them, when there is none left to count them with.
std::uint64_t DescriptorsInUse() {
  DIR* const directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return DescriptorLimit();
  std::uint64_t entries = 0;
  while (::readdir(directory) != nullptr) ++entries;
  ::closedir(directory);
  // But ".", ".." and the directory's own.
  return entries - 3;
}

}  // namespace

absl::StatusOr<v1::ServerStatusReply> AdminService::ServerStatus(
    Call& call, const v1::ServerStatusRequest& request) {
  v1::ServerStatusReply reply = about_;
  std::map<std::string_view, std::uint64_t> used;
  for (const auto& connection : sources_.connections.Open()) {
    v1::ConnectionStatus& status = *reply.add_connections();
    *status.mutable_caller() = ToProto(connection->caller());
    status.set_since_unix_nanos(absl::ToUnixNanos(connection->caller().since));
    status.set_calls_in_flight(connection->calls_in_flight());
    status.set_calls(connection->calls());
    status.set_refused_calls(connection->refused_calls());
    status.set_request_bytes(connection->request_bytes());
    status.set_reply_bytes(connection->reply_bytes());

    std::uint64_t& calls = used["max_calls_per_connection"];
    calls = std::max<std::uint64_t>(calls, status.calls_in_flight());
    std::uint64_t& memory = used["max_request_memory_per_uid"];
    memory =
        std::max<std::uint64_t>(memory, connection->request_memory()->used());
  }
  const FrontDoorCounts counts = sources_.counts();
  reply.set_accepted_connections(counts.accepted);
  reply.set_served_connections(counts.served);
  reply.set_unused_connections(counts.unused);
  used["max_connections"] = counts.open + counts.waiting;
  used["max_connections_per_uid"] = counts.most_of_one_uid;
  used["max_queued_calls"] = sources_.pool.queued();
  used["max_request_memory"] = sources_.request_memory.used();

  v1::LimitStatus& descriptors = *reply.add_limits();
  descriptors.set_name("descriptors");
  descriptors.set_limit(DescriptorLimit());
  used["descriptors"] = DescriptorsInUse();
  for (v1::LimitStatus& limit : *reply.mutable_limits()) {
    limit.set_used(used[limit.name()]);
  }
  for (std::size_t i = 0; i < kRefusals; ++i) {
    const auto reason = static_cast<Refusal>(i);
    v1::RefusalCount& refusal = *reply.add_refusals();
    refusal.set_reason(std::string(RefusalName(reason)));
    refusal.set_count(sources_.refusals.count(reason));
  }
  return reply;
}

}  // namespace tandem::rpc

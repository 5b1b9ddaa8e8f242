// Who is calling.

#ifndef TANDEM_RPC_SERVER_CALLER_H_
#define TANDEM_RPC_SERVER_CALLER_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace tandem::rpc {

// Who is calling, as the kernel said when the connection was made: the
// effective ids of the process that called connect(2), whoever has the
// descriptor now.
struct Caller {
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  // `gid` and the supplementary groups.
  std::vector<gid_t> groups = {};
  // For information only: pids are recycled. 0 when unknown.
  pid_t pid = 0;
  // Counts the connections of this server instance, from 1.
  std::uint64_t connection_id = 0;
  // How the call travels: "in-process", or the name of a wire
  // (rpc/wire/wire.h), "grpc" or "ttrpc". Lives as long as the program.
  std::string_view wire = "in-process";
  // When the connection was made.
  absl::Time since = absl::InfinitePast();

  // The caller is a user that our user namespace has no number for: `uid` is
  // what the kernel shows for all of these (rpc/base/unmapped_id.h). No rule
  // allows it, and it is not ours though the number be the same.
  bool is_unmapped() const;

  // "uid 1000", "an unmapped uid (shown as 65534)".
  std::string Name() const;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_CALLER_H_

// Who is at the other end of a unix socket, by the kernel's word.

#ifndef TANDEM_RPC_SOCKET_PEER_CREDENTIALS_H_
#define TANDEM_RPC_SOCKET_PEER_CREDENTIALS_H_

#include <sys/types.h>

#include <vector>

#include "absl/status/statusor.h"

namespace tandem::rpc {

// The process that called connect(2), seen from the server, or listen(2), seen
// from the client, with the ids it had at that moment. Does not say who holds
// the descriptor now: it may have been passed on or kept over exec(2).
struct PeerCredentials {
  // Effective ids.
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  // For information only: pids are recycled. 0 when the process is in a pid
  // namespace that we do not see.
  pid_t pid = 0;
  // `gid` and the supplementary groups.
  std::vector<gid_t> groups;
};

// Reads the credentials of the peer of the connected unix socket `fd`.
// Errors: those of getsockopt(2).
absl::StatusOr<PeerCredentials> PeerCredentialsOf(int fd);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SOCKET_PEER_CREDENTIALS_H_

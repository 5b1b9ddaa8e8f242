#include "rpc/socket/peer_credentials.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>

#include "absl/status/status.h"

namespace tandem::rpc {
namespace {

// Appends the supplementary groups of the peer of `fd`.
absl::Status AppendPeerGroups(int fd, std::vector<gid_t>& groups) {
  std::vector<gid_t> found(32);
  while (true) {
    socklen_t bytes = found.size() * sizeof(gid_t);
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, found.data(), &bytes) ==
        0) {
      groups.insert(groups.end(), found.begin(),
                    found.begin() + bytes / sizeof(gid_t));
      return absl::OkStatus();
    }
    // ERANGE: `bytes` says how many there are.
    if (errno != ERANGE || bytes <= found.size() * sizeof(gid_t)) {
      return absl::ErrnoToStatus(errno, "getsockopt(SO_PEERGROUPS)");
    }
    found.resize(bytes / sizeof(gid_t));
  }
}

}  // namespace

absl::StatusOr<PeerCredentials> PeerCredentialsOf(int fd) {
  ucred kernel;
  socklen_t size = sizeof(kernel);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &kernel, &size) != 0) {
    return absl::ErrnoToStatus(errno, "getsockopt(SO_PEERCRED)");
  }
  PeerCredentials peer{.uid = kernel.uid,
                       .gid = kernel.gid,
                       .pid = kernel.pid,
                       .groups = {kernel.gid}};
  const absl::Status status = AppendPeerGroups(fd, peer.groups);
  if (!status.ok()) return status;
  return peer;
}

}  // namespace tandem::rpc

// Opens a directory, and says who else decides what is found in it.

#ifndef TANDEM_RPC_SOCKET_DIRECTORY_H_
#define TANDEM_RPC_SOCKET_DIRECTORY_H_

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/base/unique_fd.h"

namespace tandem::rpc {

struct OpenedDirectory {
  // Opened O_PATH: the directory itself, whatever becomes of its name.
  UniqueFd fd;
  // kFailedPrecondition when somebody other than us, root and `trusted` could
  // put something else at the path of a file in it: it belongs to a third, or
  // may be written by others and is not sticky (/tmp is: what is in it can be
  // replaced only by its owner). Likewise a link on the way that belongs to a
  // third, and a directory on the way that everybody may write. A third, or a
  // group, may have directories on the way: who renames one of these can hide
  // the socket, but not show another in a directory that is ours. The message
  // names the first such place, its owner and its mode. An owner whom our user
  // namespace has no number for is a third (rpc/base/unmapped_id.h).
  absl::Status safe;
};

// Opens the directory at `path`, which is absolute, and looks at every step of
// the way, links included. Errors: what open(2) says of a step, such as
// kNotFound, kPermissionDenied, or kFailedPrecondition for a file on the way.
//
// `trusted`: who else may own what is on the way: for a client, the server.
absl::StatusOr<OpenedDirectory> OpenDirectory(
    const std::string& path, std::optional<uid_t> trusted = std::nullopt);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SOCKET_DIRECTORY_H_

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
  // put something else at the path of a file in it: it, or a directory or link
  // on the way to it, belongs to a third, or may be written by others. A sticky
  // directory that others may write (/tmp) is good enough: what is in it can be
  // replaced only by its owner. The message names the first such place, its
  // owner and its mode.
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

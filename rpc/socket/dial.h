// Connects to a server and checks who it is.

#ifndef TANDEM_RPC_SOCKET_DIAL_H_
#define TANDEM_RPC_SOCKET_DIAL_H_

#include <sys/types.h>

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/unique_fd.h"
#include "rpc/socket/unix_address.h"

namespace tandem::rpc {

// Returns a connection to the server at `address`, which the kernel says runs
// as `server_uid`; nothing has been sent yet. The descriptor does not block.
// Since that user may have several servers, also looks at the path, that nobody
// else could lead it elsewhere: at each directory on the way (OpenDirectory)
// and at the socket, which must be no link. `allow_shared_directory` says why
// others may be trusted who can; empty: they are not.
//
// While the server's queue of connections is full, tries again until `deadline`
// (tries once if that has passed); else answers at once.
//
// Errors:
//   kUnavailable         nobody listens there now: no file, a file that a dead
//                        server left, or a full queue until the deadline
//   kPermissionDenied    the server runs as another uid, or as one that our
//                        user namespace has no number for; or others could put
//                        something else in its socket's place; or the file, or
//                        a directory above it, is not open to us
//   kFailedPrecondition  what is there will never be a server: not a socket,
//                        or a link to one
//   kResourceExhausted   we are out of descriptors or memory
absl::StatusOr<UniqueFd> Dial(const UnixAddress& address, uid_t server_uid,
                              absl::Time deadline,
                              std::string_view allow_shared_directory = {});

// That the server at the other end of the connection `fd` runs as `server_uid`,
// by the kernel's word; `where` is what errors call it. Errors:
// kPermissionDenied, also where our user namespace has no number for its user.
absl::Status CheckServer(int fd, uid_t server_uid, std::string_view where);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SOCKET_DIAL_H_

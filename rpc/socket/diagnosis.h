// What is wrong with a socket, or around it.

#ifndef TANDEM_RPC_SOCKET_DIAGNOSIS_H_
#define TANDEM_RPC_SOCKET_DIAGNOSIS_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "rpc/socket/unix_address.h"

namespace tandem::rpc {

// One thing that was found.
struct Finding {
  enum class Kind {
    kFine,     // As it should be.
    kNote,     // May be meant so.
    kProblem,  // Keeps a server from starting, or clients from reaching it.
  };
  Kind kind = Kind::kFine;
  // "nobody listens at /run/kv.sock: a server that died left the file".
  std::string what;
  // What mends it, mostly a command; empty where nothing is to be done.
  std::string remedy;
};

struct Diagnosis {
  std::vector<Finding> findings;
  // Whom the server that lives there runs as; nothing when none takes our
  // connections, or our user namespace has no number for that user.
  std::optional<uid_t> server_uid;
};

// Looks at the directories above the socket, its lock file, its owner and mode,
// and at who listens: by a connection that is closed at once. Changes nothing,
// and takes no lock that a server could miss. With `allow_shared_directory`,
// why others are trusted who could replace the socket, it is no problem that
// they could.
Diagnosis Diagnose(const UnixAddress& address,
                   std::string_view allow_shared_directory = {});

// The paths in a directory that are sockets, or of which a server has left a
// trace: a lock file, or a file of its own that was never published. Errors:
// what opendir(3) says.
absl::StatusOr<std::vector<std::string>> FindSockets(
    const std::string& directory);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SOCKET_DIAGNOSIS_H_

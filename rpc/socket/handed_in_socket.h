// A socket that whoever started this process made for it.

#ifndef TANDEM_RPC_SOCKET_HANDED_IN_SOCKET_H_
#define TANDEM_RPC_SOCKET_HANDED_IN_SOCKET_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "rpc/base/unique_fd.h"

namespace tandem::rpc {

// Its name, its mode and its owner are the giver's: nothing of ours locks,
// publishes or removes it.
struct HandedInSocket {
  // Does not block, and is not inherited by programs that we start.
  UniqueFd fd;
  // Else it is a connection.
  bool is_listening = false;
  // What clients can be told: "unix:/run/kv.sock" when it listens on a path
  // that they can write, else "fd:3".
  std::string address;
};

// True for the addresses of such sockets:
//   fd:3          descriptor 3: a unix stream socket that listens, or one that
//                 is connected
//   systemd:      the one listening socket of the unit (LISTEN_FDS)
//   systemd:NAME  the one called NAME there (LISTEN_FDNAMES, that is
//                 FileDescriptorName=)
bool IsHandedIn(std::string_view address);

// Whether there is something at such an address. For programs to ask before
// they open anything, which would be given the number of what is missing.
// Errors: kInvalidArgument, kNotFound and kFailedPrecondition (several of that
// name) as below.
absl::Status CheckHandedInSocket(std::string_view address);

// Takes over the socket at such an address. A listening one listens anew, so
// that clients see our credentials rather than those of the giver. A connected
// one belongs to whoever connected it: of a socketpair(2), to its maker.
//
// For "systemd:", removes LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID from the
// environment, so that no program that we start takes them for its own: call it
// before there are threads that read the environment, and once. Other sockets
// of the unit stay open, and can be had as "fd:N"; they are not inherited
// either.
//
// Errors, after which everything is as it was:
//   kInvalidArgument     the address is none of the above
//   kNotFound            no such descriptor; no such name; the variables are
//                        not there or for another process
//   kFailedPrecondition  not a unix stream socket, neither listening nor
//                        connected, or with an abstract name; several sockets
//                        where one is to be chosen
absl::StatusOr<HandedInSocket> TakeHandedInSocket(std::string_view address);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SOCKET_HANDED_IN_SOCKET_H_

// Where a server listens: the path of a unix socket, checked.

#ifndef TANDEM_RPC_SOCKET_UNIX_ADDRESS_H_
#define TANDEM_RPC_SOCKET_UNIX_ADDRESS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

namespace tandem::rpc {

// The kernel keeps a socket's path in 108 bytes, one of them a final zero.
inline constexpr std::size_t kMaxSocketPathBytes = 107;

// The address of a unix socket in the file system.
//
// Thread safety: immutable.
class UnixAddress {
 public:
  // Takes "unix:/run/kv.sock", "unix:///run/kv.sock", and "unix:kv.sock", which
  // is made absolute now, from the current directory. The path has at most
  // kMaxSocketPathBytes, of the characters A-Z a-z 0-9 . _ / + @ and -: others
  // do not survive the way through every client's address parser.
  //
  // Errors: kInvalidArgument, with the rule that was broken. Among them are
  // abstract sockets: they have neither owner nor mode, so anybody may take the
  // name.
  static absl::StatusOr<UnixAddress> Parse(std::string_view text);

  // Absolute: "/run/kv.sock".
  const std::string& path() const { return path_; }
  // "/run", "kv.sock".
  std::string directory() const;
  std::string name() const;

  // "unix:/run/kv.sock".
  std::string ToString() const { return "unix:" + path_; }

 private:
  explicit UnixAddress(std::string path) : path_(std::move(path)) {}

  std::string path_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SOCKET_UNIX_ADDRESS_H_

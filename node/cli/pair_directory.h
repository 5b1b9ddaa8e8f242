// The directory that `tandem up` runs a pair of processes in.

#ifndef TANDEM_NODE_CLI_PAIR_DIRECTORY_H_
#define TANDEM_NODE_CLI_PAIR_DIRECTORY_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/base/unique_fd.h"

namespace tandem::node {

// Where the two processes of a pair listen.
struct PairAddresses {
  std::string app;
  std::string node;
};

// A data directory in use:
//   app/, node/          what each process keeps
//   run/                 app.sock and node.sock
//   run/addresses.json   where they listen, for the other commands
//   up.lock              locked by the `tandem up` that uses the directory
// Where run/ has a path that no socket can have (too long, or characters that
// address parsers change), the sockets are in a directory under /tmp that is
// open to nobody else.
//
// Lifecycle: the destructor removes addresses.json and the directory under
// /tmp, and unlocks. Thread safety: immutable.
class PairDirectory {
 public:
  // Makes what is missing, for us alone, and locks it.
  // Errors: kFailedPrecondition when another `tandem up` uses it; what mkdir(2)
  // and open(2) may say, with the path.
  static absl::StatusOr<std::unique_ptr<PairDirectory>> Open(
      const std::string& path);

  // Where the processes of a directory in use listen.
  // Errors: kNotFound when none were started there.
  static absl::StatusOr<PairAddresses> ReadAddresses(const std::string& path);

  ~PairDirectory();
  PairDirectory(const PairDirectory&) = delete;
  PairDirectory& operator=(const PairDirectory&) = delete;

  // Absolute.
  const std::string& path() const { return path_; }
  std::string app_data() const { return path_ + "/app"; }
  std::string node_data() const { return path_ + "/node"; }
  const PairAddresses& addresses() const { return addresses_; }

 private:
  explicit PairDirectory(std::string path) : path_(std::move(path)) {}

  absl::Status Lock();
  absl::Status ChooseAddresses();
  absl::Status RecordAddresses() const;
  // A directory under /tmp: the one recorded by a `tandem up` that was killed,
  // or a new one.
  absl::StatusOr<std::string> ShortDirectory() const;

  const std::string path_;
  rpc::UniqueFd lock_;
  PairAddresses addresses_;
  std::string short_directory_;  // Empty unless the sockets are there.
};

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_PAIR_DIRECTORY_H_

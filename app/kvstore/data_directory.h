// The directory that a key-value store keeps its state in.

#ifndef TANDEM_APP_KVSTORE_DATA_DIRECTORY_H_
#define TANDEM_APP_KVSTORE_DATA_DIRECTORY_H_

#include <string>

#include "absl/status/statusor.h"
#include "rpc/base/unique_fd.h"

namespace tandem::app {

// A directory, locked for this process, with
//   tandem-kvstore.json  whose it is: program and store version
//   state/               the database
//
// Thread safety: immutable.
class DataDirectory {
 public:
  // Opens the directory, or makes it, for us alone (mode 0700).
  //
  // Errors:
  //   kFailedPrecondition  it holds something else, another store version, or
  //   is
  //                        in use by another process
  //   kPermissionDenied    it is not ours to write
  //   others               of the system, with the path
  static absl::StatusOr<DataDirectory> Open(const std::string& path);

  const std::string& path() const { return path_; }
  // Where the database is.
  std::string state() const { return path_ + "/state"; }

 private:
  DataDirectory(std::string path, rpc::UniqueFd lock);

  std::string path_;
  rpc::UniqueFd lock_;  // the directory, held by flock(2)
};

}  // namespace tandem::app

#endif  // TANDEM_APP_KVSTORE_DATA_DIRECTORY_H_

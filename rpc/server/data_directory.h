// The directory that a program keeps its data in.

#ifndef TANDEM_RPC_SERVER_DATA_DIRECTORY_H_
#define TANDEM_RPC_SERVER_DATA_DIRECTORY_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/base/unique_fd.h"

namespace tandem::rpc {

// A directory that is one program's own, locked for this process. Its marker,
// the file PROGRAM.json, says whose it is:
//   {"program": "tandem-kvstore", "store_version": 1}
// and what else the program says of it in facts. A directory that has no
// marker is taken when it is empty, and is ours for good after Mark():
//
//   TANDEM_ASSIGN_OR_RETURN(
//       DataDirectory directory,
//       DataDirectory::Open({.path = path, .program = "tandem-kvstore",
//                            .store_version = 1}));
//   if (!directory.is_marked()) TANDEM_RETURN_IF_ERROR(directory.Mark());
//
// Lifecycle: locked until it is destroyed, or the process ends.
// Thread safety: thread-compatible.
class DataDirectory {
 public:
  struct Options {
    std::string path;
    std::string program;
    // Of what the program keeps there; others are refused.
    int store_version = 0;
    // Names of files that may be there before the marker: the operator's, or
    // what the program makes before Mark(), with the drafts of WriteFile().
    std::vector<std::string> early_files;
  };
  // Texts (UTF-8) in the marker, by name.
  using Facts = std::map<std::string, std::string, std::less<>>;

  // Opens the directory, or makes it, for us alone (mode 0700).
  //
  // Errors:
  //   kFailedPrecondition  it is another program's, of another store version,
  //                        no directory, or in use by another process
  //   kPermissionDenied    it is not ours to write
  //   others               of the system, with the path
  static absl::StatusOr<DataDirectory> Open(Options options);

  // Opens a directory that is there and marked, to look at it. Makes and writes
  // nothing; shares the lock with others who look, and keeps the program from
  // starting in it meanwhile. Errors: as Open(), and kNotFound when it is not
  // there.
  static absl::StatusOr<DataDirectory> OpenToRead(Options options);

  bool is_marked() const { return is_marked_; }

  // What the marker says; empty when it does not.
  std::string Fact(std::string_view name) const;

  // Writes the marker, durably. Errors: of the system, with the path.
  absl::Status Mark(Facts facts = {});

  // The path of a file in it.
  std::string File(std::string_view name) const;

  // kFailedPrecondition: why the program cannot use this directory, such as
  // "belongs to another chain", and what the operator can do.
  absl::Status Refusal(std::string_view why) const;

 private:
  explicit DataDirectory(Options options);

  std::string marker() const { return options_.program + ".json"; }
  absl::Status Make() const;
  // `kind` is LOCK_EX or LOCK_SH, of flock(2).
  absl::Status Lock(int kind);
  absl::Status CheckWritable() const;
  absl::Status ReadMarker();
  // Without a marker: only what the program may find there is there.
  absl::Status CheckUnmarked() const;

  Options options_;
  UniqueFd lock_;  // the directory, held by flock(2)
  bool is_marked_ = false;
  Facts facts_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_DATA_DIRECTORY_H_

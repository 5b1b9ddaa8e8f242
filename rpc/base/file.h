// Files, read and written whole, and directories.

#ifndef TANDEM_RPC_BASE_FILE_H_
#define TANDEM_RPC_BASE_FILE_H_

#include <sys/types.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tandem::rpc {

// Errors: those of absl::ErrnoToStatus, such as kNotFound, with the path.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Creates `path` with `contents`, durably: after a crash it is there whole or
// not at all, beside maybe a `path`.new. Replaces a file that is there. Errors
// as ReadFile.
absl::Status WriteFile(const std::string& path, std::string_view contents,
                       mode_t mode);

// Makes `path`, for us alone (mode 0700), and what is missing above it. A
// directory that is there stays as it is. Errors: kFailedPrecondition when
// something else is there; else as ReadFile.
absl::Status MakeDirectory(const std::string& path);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_BASE_FILE_H_

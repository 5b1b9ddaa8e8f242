// Whole files, read and written at once.

#ifndef TANDEM_NODE_FILE_H_
#define TANDEM_NODE_FILE_H_

#include <sys/types.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tandem::node {

// Errors: those of absl::ErrnoToStatus, such as kNotFound, with the path.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Creates `path` with `contents`, durably: after a crash it is there whole or
// not at all. Replaces a file that is there. Errors as ReadFile.
absl::Status WriteFile(const std::string& path, std::string_view contents,
                       mode_t mode);

}  // namespace tandem::node

#endif  // TANDEM_NODE_FILE_H_

#include "node/cli/output.h"

#include <cerrno>
#include <cstdio>

#include "rpc/base/status_macros.h"

namespace tandem::node {

absl::Status Output::Line(std::string_view text) {
  TANDEM_RETURN_IF_ERROR(Bytes(text));
  return Bytes("\n");
}

absl::Status Output::Bytes(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size()) {
    return Failed();
  }
  return absl::OkStatus();
}

absl::Status Output::Flush() {
  if (std::fflush(stdout) != 0) return Failed();
  return absl::OkStatus();
}

absl::Status Output::Failed() {
  if (errno == EPIPE) {
    is_closed_ = true;
    return absl::CancelledError("standard output was closed by its reader");
  }
  return absl::DataLossError(
      absl::ErrnoToStatus(errno, "standard output").message());
}

}  // namespace tandem::node

#include "tests/bench/disk.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "rpc/base/unique_fd.h"

namespace tandem::bench {

absl::StatusOr<std::vector<absl::Duration>> TimeSyncs(
    const std::string& directory, int count) {
  const std::string path = directory + "/sync";
  const rpc::UniqueFd file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!file.is_valid()) return absl::ErrnoToStatus(errno, "open " + path);
  const std::string block(4096, 'x');
  std::vector<absl::Duration> times;
  for (int i = 0; i < count; ++i) {
    const absl::Time begin = absl::Now();
    if (::write(file.get(), block.data(), block.size()) !=
            static_cast<ssize_t>(block.size()) ||
        ::fdatasync(file.get()) != 0) {
      return absl::ErrnoToStatus(errno, "append to " + path);
    }
    times.push_back(absl::Now() - begin);
  }
  return times;
}

}  // namespace tandem::bench

#include "rpc/base/standard_descriptors.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace tandem::rpc {
namespace {

int open_error = 0;

// Nothing is initialized yet: system calls alone, which no sanitizer replaces.
void OpenIfClosed(int descriptor, int flags) {
  if (::syscall(SYS_fcntl, descriptor, F_GETFD) >= 0) return;
  // The lowest that is free, so `descriptor`.
  if (::syscall(SYS_openat, AT_FDCWD, "/dev/null", flags) >= 0) return;
  open_error = errno;
}

void OpenClosed() {
  OpenIfClosed(STDIN_FILENO, O_WRONLY);
  OpenIfClosed(STDOUT_FILENO, O_RDONLY);
  OpenIfClosed(STDERR_FILENO, O_WRONLY);
}

// What the loader calls before the constructors of shared libraries.
[[gnu::section(".preinit_array"),
  gnu::used]] void (*const before_libraries)() = OpenClosed;

}  // namespace

absl::Status StandardDescriptors() {
  if (open_error == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(open_error, "cannot open /dev/null");
}

}  // namespace tandem::rpc

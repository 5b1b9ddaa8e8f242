#include "rpc/base/unique_fd.h"

#include <unistd.h>

#include <utility>

namespace tandem::rpc {

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    Reset();
    fd_ = other.Release();
  }
  return *this;
}

int UniqueFd::Release() { return std::exchange(fd_, -1); }

void UniqueFd::Reset() {
  // Linux frees the descriptor even when close() reports EINTR, so no retry.
  if (fd_ >= 0) ::close(Release());
}

}  // namespace tandem::rpc

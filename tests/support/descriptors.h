// What descriptors this process has.

#ifndef TANDEM_TESTS_SUPPORT_DESCRIPTORS_H_
#define TANDEM_TESTS_SUPPORT_DESCRIPTORS_H_

#include <fcntl.h>

#include <filesystem>
#include <map>
#include <string>
#include <system_error>

namespace tandem::test {

// Open descriptors and what they are ("socket:[123]", "/tmp/x").
inline std::map<int, std::string> OpenDescriptors() {
  std::map<int, std::string> open;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const auto what = std::filesystem::read_symlink(entry.path(), error);
    const int fd = std::stoi(entry.path().filename());
    // The iterator's own is in the listing and already gone afterwards.
    if (!error) open[fd] = what;
  }
  std::erase_if(
      open, [](const auto& fd) { return ::fcntl(fd.first, F_GETFD) == -1; });
  return open;
}

}  // namespace tandem::test

#endif  // TANDEM_TESTS_SUPPORT_DESCRIPTORS_H_

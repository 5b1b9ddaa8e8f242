// A library for LD_PRELOAD: a disk that begins to fail below a directory, once
// a file says so.
//   FAILING_DISK_DIRECTORY  the directory
//   FAILING_DISK_TRIGGER    while this file is there, what it names ("write" or
//                           "sync") fails below the directory with EIO

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

template <typename Function>
Function Real(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

// Whether the call `kind` on this descriptor fails. errno stays what it was.
bool Fails(int fd, const char* kind) {
  const char* const directory = std::getenv("FAILING_DISK_DIRECTORY");
  const char* const trigger = std::getenv("FAILING_DISK_TRIGGER");
  if (directory == nullptr || trigger == nullptr) return false;
  const int saved = errno;
  char failing[16] = {};
  const int file = ::open(trigger, O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    [[maybe_unused]] const ssize_t got =
        ::read(file, failing, sizeof failing - 1);
    ::close(file);
  }
  char link[64];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  char path[PATH_MAX] = {};
  const bool has_path = ::readlink(link, path, sizeof path - 1) > 0;
  errno = saved;
  return has_path && std::strcmp(failing, kind) == 0 &&
         std::strncmp(path, directory, std::strlen(directory)) == 0;
}

int FailedSync() {
  errno = EIO;
  return -1;
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  static const auto real = Real<decltype(&write)>("write");
  if (!Fails(fd, "write")) return real(fd, bytes, size);
  errno = EIO;
  return -1;
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) {
  static const auto real = Real<decltype(&pwrite)>("pwrite");
  if (!Fails(fd, "write")) return real(fd, bytes, size, at);
  errno = EIO;
  return -1;
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t at) {
  static const auto real = Real<decltype(&pwrite64)>("pwrite64");
  if (!Fails(fd, "write")) return real(fd, bytes, size, at);
  errno = EIO;
  return -1;
}

int fsync(int fd) {
  static const auto real = Real<decltype(&fsync)>("fsync");
  return Fails(fd, "sync") ? FailedSync() : real(fd);
}

int fdatasync(int fd) {
  static const auto real = Real<decltype(&fdatasync)>("fdatasync");
  return Fails(fd, "sync") ? FailedSync() : real(fd);
}

}  // extern "C"

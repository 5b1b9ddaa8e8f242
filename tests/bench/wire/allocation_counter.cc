// Preloaded into a process (LD_PRELOAD), counts what it allocates: into the
// file that TANDEM_ALLOCATIONS names, as a number of 8 bytes.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* block, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);
}

namespace {

using Count = std::atomic<std::uint64_t>;

Count uncounted;
std::atomic<Count*> count{&uncounted};

void CountOne() {
  count.load(std::memory_order_relaxed)
      ->fetch_add(1, std::memory_order_relaxed);
}

[[gnu::constructor]] void Begin() {
  const char* path = std::getenv("TANDEM_ALLOCATIONS");
  if (path == nullptr) return;
  const int fd = ::open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ::ftruncate(fd, sizeof(Count)) != 0) return;
  void* const memory =
      ::mmap(nullptr, sizeof(Count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (memory != MAP_FAILED) count = static_cast<Count*>(memory);
}

}  // namespace

extern "C" {

void* malloc(std::size_t bytes) {
  CountOne();
  return __libc_malloc(bytes);
}
void* calloc(std::size_t many, std::size_t bytes) {
  CountOne();
  return __libc_calloc(many, bytes);
}
void* realloc(void* block, std::size_t bytes) {
  CountOne();
  return __libc_realloc(block, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) {
  CountOne();
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  CountOne();
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** block, std::size_t alignment, std::size_t bytes) {
  CountOne();
  *block = __libc_memalign(alignment, bytes);
  return *block == nullptr ? ENOMEM : 0;
}

}  // extern "C"

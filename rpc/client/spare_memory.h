// Memory that calls lived in, for the next calls.

#ifndef TANDEM_RPC_CLIENT_SPARE_MEMORY_H_
#define TANDEM_RPC_CLIENT_SPARE_MEMORY_H_

#include <cstddef>
#include <map>

#include "rpc/base/mutex.h"

namespace tandem::rpc {

// Blocks of few different sizes, which come and go all the time: a call costs
// no allocation once as many have been in flight before.
//
// Ownership: shared by a transport and by the calls that live in it, which may
// end later. Thread safety: thread-safe.
class SpareMemory {
 public:
  SpareMemory() = default;
  ~SpareMemory();
  SpareMemory(const SpareMemory&) = delete;
  SpareMemory& operator=(const SpareMemory&) = delete;

  // Aligned as operator new does.
  void* Take(std::size_t bytes) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes back what Take() gave.
  void GiveBack(void* block, std::size_t bytes) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Of a size; more are freed.
  static constexpr std::size_t kMostBlocks = 1024;

  // Lies in a block that is free.
  struct Block {
    Block* next;
  };
  struct Blocks {
    Block* first = nullptr;
    std::size_t count = 0;
  };

  Mutex mu_;
  std::map<std::size_t, Blocks> by_size_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CLIENT_SPARE_MEMORY_H_

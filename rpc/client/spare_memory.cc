#include "rpc/client/spare_memory.h"

#include <new>
#include <utility>

namespace tandem::rpc {

SpareMemory::~SpareMemory() {
  for (auto& [bytes, blocks] : by_size_) {
    while (blocks.first != nullptr) {
      ::operator delete(std::exchange(blocks.first, blocks.first->next));
    }
  }
}

void* SpareMemory::Take(std::size_t bytes) {
  {
    MutexLock lock(mu_);
    const auto it = by_size_.find(bytes);
    if (it != by_size_.end() && it->second.first != nullptr) {
      Blocks& blocks = it->second;
      --blocks.count;
      return std::exchange(blocks.first, blocks.first->next);
    }
  }
  return ::operator new(bytes);
}

void SpareMemory::GiveBack(void* block, std::size_t bytes) {
  {
    MutexLock lock(mu_);
    Blocks& blocks = by_size_[bytes];
    if (blocks.count < kMostBlocks) {
      ++blocks.count;
      blocks.first = new (block) Block{blocks.first};
      return;
    }
  }
  ::operator delete(block);
}

}  // namespace tandem::rpc

// Memory that many may use, up to a limit.

#ifndef TANDEM_RPC_SERVER_MEMORY_BUDGET_H_
#define TANDEM_RPC_SERVER_MEMORY_BUDGET_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace tandem::rpc {

// Counts bytes, and says when there are too many. What is taken from a budget
// is taken from the one that it is part of as well.
//
// Thread safety: thread-safe, without locks.
class MemoryBudget {
 public:
  explicit MemoryBudget(std::size_t max_bytes,
                        std::shared_ptr<MemoryBudget> whole = nullptr)
      : max_bytes_(max_bytes), whole_(std::move(whole)) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // Null when `bytes` were taken, until Return(); else the budget, this or one
  // that it is part of, that has not as much left.
  const MemoryBudget* Take(std::size_t bytes) {
    const std::size_t before = used_.fetch_add(bytes, kRelaxed);
    const MemoryBudget* full =
        before > max_bytes_ || bytes > max_bytes_ - before ? this : nullptr;
    if (full == nullptr && whole_ != nullptr) full = whole_->Take(bytes);
    if (full != nullptr) used_.fetch_sub(bytes, kRelaxed);
    return full;
  }

  void Return(std::size_t bytes) {
    used_.fetch_sub(bytes, kRelaxed);
    if (whole_ != nullptr) whole_->Return(bytes);
  }

  std::size_t used() const { return used_.load(kRelaxed); }
  std::size_t max_bytes() const { return max_bytes_; }

 private:
  static constexpr std::memory_order kRelaxed = std::memory_order_relaxed;

  const std::size_t max_bytes_;
  const std::shared_ptr<MemoryBudget> whole_;
  std::atomic<std::size_t> used_{0};
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_MEMORY_BUDGET_H_

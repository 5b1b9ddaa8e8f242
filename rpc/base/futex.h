// Sleeping until another thread says something, without a lock (futex(2)).

#ifndef TANDEM_RPC_BASE_FUTEX_H_
#define TANDEM_RPC_BASE_FUTEX_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

namespace tandem::rpc {

// Sleeps while `word` has that value, until WakeSleeper(), or for `deadline`;
// or for no reason: look again, at the clock too.
void SleepWhile(const std::atomic<std::uint32_t>& word, std::uint32_t value,
                absl::Time deadline);

// Wakes the thread that sleeps there. The word may be gone by now: nothing is
// read of it, and at worst somebody wakes for no reason. So what is told may be
// the last that a thread waits for before it frees the word.
void WakeSleeper(const std::atomic<std::uint32_t>* word);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_BASE_FUTEX_H_

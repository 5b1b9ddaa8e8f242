// What a wire says of the first bytes of a connection.

#ifndef TANDEM_RPC_WIRE_VERDICT_H_
#define TANDEM_RPC_WIRE_VERDICT_H_

#include <cstddef>
#include <cstdint>

namespace tandem::rpc {

enum class Verdict : std::uint8_t { kNeedMore, kMine, kNotMine };

// A wire that has not said kMine or kNotMine after as many never does.
inline constexpr std::size_t kMaxFirstBytes = 24;

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_VERDICT_H_

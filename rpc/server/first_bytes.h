// What a client's first bytes say of the wire it speaks.

#ifndef TANDEM_RPC_SERVER_FIRST_BYTES_H_
#define TANDEM_RPC_SERVER_FIRST_BYTES_H_

#include <cstddef>
#include <string_view>

namespace tandem::rpc {

enum class FirstBytes {
  kNeedMore,  // So far right.
  kGrpc,      // What every HTTP/2 client begins with.
  kUnknown,   // No wire begins so.
};

// As many say all there is to say.
inline constexpr std::size_t kFirstBytesNeeded = 24;

// Judges `seen`, all that has come so far; of more than kFirstBytesNeeded, the
// first. More bytes after those that were right or wrong change nothing.
FirstBytes JudgeFirstBytes(std::string_view seen);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_FIRST_BYTES_H_

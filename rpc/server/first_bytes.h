// Which wire a client speaks, by its first bytes.

#ifndef TANDEM_RPC_SERVER_FIRST_BYTES_H_
#define TANDEM_RPC_SERVER_FIRST_BYTES_H_

#include <span>
#include <string_view>

#include "rpc/wire/wire.h"

namespace tandem::rpc {

struct FirstBytes {
  Verdict verdict;
  // Of kMine: whose they are.
  Wire* wire;
};

// Judges `seen`, all that has come so far; of more than kMaxFirstBytes, the
// first. The first of `wires` that calls them its own has them: one that needs
// more keeps those behind it waiting. More bytes after those that said kMine or
// kNotMine change nothing.
FirstBytes JudgeFirstBytes(std::string_view seen, std::span<Wire* const> wires);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_FIRST_BYTES_H_

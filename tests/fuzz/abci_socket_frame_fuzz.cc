// What a peer of the ABCI socket protocol sends, which may be anything.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "proto/abci/socket_frame.h"

namespace {

using tandem::abci::ReadSocketFrame;
using tandem::abci::SocketFrame;
using tandem::rpc::Verdict;

constexpr std::size_t kMost = 1 << 16;

void Check(bool holds) {
  if (!holds) std::abort();
}

// Reads the frame that `bytes` begin with in every piece of it: it is there
// once all of it is, and what was said before still holds then. Returns its
// size; 0 when it is not all there, or none.
std::size_t CheckFrame(std::string_view bytes) {
  std::size_t announced = 0;
  for (std::size_t there = 0; there <= bytes.size(); ++there) {
    SocketFrame frame;
    const auto read = ReadSocketFrame(bytes.substr(0, there), kMost, &frame);
    Check(announced == 0 || frame.bytes == announced);
    announced = frame.bytes;
    if (!read.ok()) return 0;
    if (!*read) {
      Check(announced == 0 || announced > there);
      continue;
    }
    Check(announced == there);
    Check(
        frame.message.empty() ||
        (frame.message.data() > bytes.data() &&
         frame.message.data() + frame.message.size() <= bytes.data() + there));
    return there;
  }
  return 0;
}

// Is sure after few bytes, and sticks to that.
void CheckVerdict(std::string_view bytes) {
  Verdict before = Verdict::kNeedMore;
  std::uint32_t member_before = 0;
  for (std::size_t there = 0; there <= bytes.size(); ++there) {
    std::uint32_t member = 0;
    const Verdict now =
        tandem::abci::JudgeSocketFrame(bytes.substr(0, there), &member);
    Check(now != Verdict::kNeedMore || there < tandem::rpc::kMaxFirstBytes);
    Check(before == Verdict::kNeedMore ||
          (now == before && member == member_before));
    before = now;
    member_before = member;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data),
                         size < 512 ? size : 512);
  CheckVerdict(bytes);
  while (const std::size_t taken = CheckFrame(bytes))
    bytes.remove_prefix(taken);
  return 0;
}

// The first bytes of a client, which may be anything and come in any pieces.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "rpc/server/first_bytes.h"
#include "rpc/wire/grpc/preface.h"
#include "rpc/wire/ttrpc/frame.h"
#include "tests/support/judging_wire.h"

namespace {

using tandem::rpc::kMaxFirstBytes;
using tandem::rpc::Verdict;
using tandem::rpc::Wire;
using tandem::test::JudgingWire;

// RFC 9113, 3.4.
constexpr std::string_view kGrpc =
    "\x50\x52\x49\x20\x2a\x20\x48\x54\x54\x50\x2f\x32"
    "\x2e\x30\x0d\x0a\x0d\x0a\x53\x4d\x0d\x0a\x0d\x0a";

void Check(bool holds) {
  if (!holds) std::abort();
}

// What a server says of them, with the wires that it offers by default.
Verdict Judge(std::string_view seen) {
  static JudgingWire grpc(tandem::rpc::JudgePreface);
  static JudgingWire ttrpc(tandem::rpc::ttrpc::JudgeFirstBytes);
  static Wire* const wires[] = {&grpc, &ttrpc};
  return tandem::rpc::JudgeFirstBytes(seen, wires).verdict;
}

// Needs more of each beginning until it is sure, by kMaxFirstBytes at the
// latest, and sticks to that: so it is the same in whatever pieces the bytes
// come. Of the first `sure` bytes it is known.
void CheckBeginnings(std::string_view bytes, std::size_t sure) {
  Verdict before = Verdict::kNeedMore;
  for (std::size_t length = sure; length <= bytes.size(); ++length) {
    const Verdict now = Judge(bytes.substr(0, length));
    Check(before == Verdict::kNeedMore || now == before);
    Check(now != Verdict::kNeedMore || length < kMaxFirstBytes);
    before = now;
  }
}

// Right is what begins as gRPC does, or with a zero, and wrong what cannot
// become that.
void CheckJudgement(std::string_view bytes) {
  const std::size_t common = std::min(bytes.size(), kGrpc.size());
  const bool is_begun = bytes.substr(0, common) == kGrpc.substr(0, common);
  const bool is_ttrpc = !bytes.empty() && bytes.front() == '\0';
  const bool is_whole = is_ttrpc || common == kGrpc.size();
  const Verdict expected = !is_begun && !is_ttrpc ? Verdict::kNotMine
                           : is_whole             ? Verdict::kMine
                                                  : Verdict::kNeedMore;
  Check(Judge(bytes) == expected);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  // Of more, nobody looks at the rest.
  std::string_view bytes(reinterpret_cast<const char*>(data),
                         std::min(size, kMaxFirstBytes + 2));
  CheckBeginnings(bytes, 0);
  CheckJudgement(bytes);
  if (bytes.empty()) return 0;
  // Behind what is right so far, as much as the first byte says: few inputs
  // come that far by themselves.
  const std::size_t right =
      static_cast<unsigned char>(bytes.front()) % (kGrpc.size() + 1);
  bytes.remove_prefix(1);
  const std::string near = std::string(kGrpc.substr(0, right)).append(bytes);
  CheckBeginnings(near, right);
  CheckJudgement(near);
  return 0;
}

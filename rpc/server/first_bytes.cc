#include "rpc/server/first_bytes.h"

namespace tandem::rpc {

FirstBytes JudgeFirstBytes(std::string_view seen,
                           std::span<Wire* const> wires) {
  seen = seen.substr(0, kMaxFirstBytes);
  for (Wire* const wire : wires) {
    const Verdict verdict =
        seen.empty() ? Verdict::kNeedMore : wire->Judge(seen);
    if (verdict == Verdict::kMine) return {verdict, wire};
    if (verdict == Verdict::kNeedMore && seen.size() < kMaxFirstBytes) {
      return {verdict, nullptr};
    }
  }
  return {Verdict::kNotMine, nullptr};
}

}  // namespace tandem::rpc

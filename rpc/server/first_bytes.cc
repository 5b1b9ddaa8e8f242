#include "rpc/server/first_bytes.h"

namespace tandem::rpc {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
static_assert(kPreface.size() == kFirstBytesNeeded);

}  // namespace

FirstBytes JudgeFirstBytes(std::string_view seen) {
  if (seen.starts_with(kPreface)) return FirstBytes::kGrpc;
  return kPreface.starts_with(seen) ? FirstBytes::kNeedMore
                                    : FirstBytes::kUnknown;
}

}  // namespace tandem::rpc

// Any rule of a command line is taken or refused, and a refused one changes
// nothing.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "rpc/server/access_policy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using tandem::rpc::AccessPolicy;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  AccessPolicy policy;
  const bool is_taken = policy.AddRule(text).ok();
  const bool has_rule =
      !policy.CheckScopes({}).ok();  // For nothing that there is.
  if (is_taken != has_rule) std::abort();
  if (!is_taken && policy.WhoMayConnect() != "nobody") std::abort();
  return 0;
}

#include "rpc/codegen/generated.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace tandem::rpc {

absl::Status NotImplemented(std::string_view method) {
  return absl::UnimplementedError(absl::StrCat(
      "the server's handler does not implement ", std::string(method)));
}

}  // namespace tandem::rpc

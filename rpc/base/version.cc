#include "rpc/base/version.h"

namespace tandem::rpc {

std::string_view FrameworkVersion() { return TANDEM_VERSION; }

}  // namespace tandem::rpc

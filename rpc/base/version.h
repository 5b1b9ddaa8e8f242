// Which Tandem this is.

#ifndef TANDEM_RPC_BASE_VERSION_H_
#define TANDEM_RPC_BASE_VERSION_H_

#include <string_view>

namespace tandem::rpc {

// "0.1.0": the project's version in the top CMakeLists.txt. Peers tell it each
// other in Hello, for information.
std::string_view FrameworkVersion();

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_BASE_VERSION_H_

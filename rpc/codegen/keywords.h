// Words that cannot be names in C++.

#ifndef TANDEM_RPC_CODEGEN_KEYWORDS_H_
#define TANDEM_RPC_CODEGEN_KEYWORDS_H_

#include <string_view>

namespace tandem::rpc {

// True for the keywords of C++20, and for macros that the C and C++ libraries
// or GNU's dialect define under common words (errno, unix).
bool IsKeyword(std::string_view word);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CODEGEN_KEYWORDS_H_

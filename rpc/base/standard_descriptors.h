// Descriptors 0, 1 and 2 of a program that was started without them.

#ifndef TANDEM_RPC_BASE_STANDARD_DESCRIPTORS_H_
#define TANDEM_RPC_BASE_STANDARD_DESCRIPTORS_H_

#include "absl/status/status.h"

namespace tandem::rpc {

// A program whose main() calls this has /dev/null on each of standard input,
// output and error that was closed when it was started, so that no socket or
// file of the program's lands there, where it would be read as input or have
// log lines written into it. Reading such an input fails, and so does writing
// to such an output, as if it were still closed; what is written to such a
// standard error is lost.
//
// They are opened before any library's initialization, because libraries open
// descriptors then; the call only says how that went. Not for shared objects,
// which come too late. Errors: what open(2) said.
absl::Status StandardDescriptors();

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_BASE_STANDARD_DESCRIPTORS_H_

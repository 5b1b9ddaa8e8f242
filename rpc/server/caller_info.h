// A caller as the protocol tells it.

#ifndef TANDEM_RPC_SERVER_CALLER_INFO_H_
#define TANDEM_RPC_SERVER_CALLER_INFO_H_

#include "rpc/server/caller.h"
#include "tandem/rpc/v1/session.pb.h"

namespace tandem::rpc {

v1::CallerInfo ToProto(const Caller& caller);

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_CALLER_INFO_H_

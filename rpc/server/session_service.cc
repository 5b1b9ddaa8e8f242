#include "rpc/server/session_service.h"

#include <string>

namespace tandem::rpc {

absl::StatusOr<v1::HelloReply> SessionService::Hello(
    Call& call, const v1::HelloRequest& request) {
  v1::HelloReply reply = about_;
  v1::CallerInfo& caller = *reply.mutable_caller();
  caller.set_uid(call.caller().uid);
  caller.set_gid(call.caller().gid);
  caller.set_pid(call.caller().pid);
  caller.set_connection_id(call.caller().connection_id);
  caller.set_wire(std::string(WireName(call.caller().wire)));
  return reply;
}

}  // namespace tandem::rpc

#include "rpc/server/session_service.h"

#include "rpc/server/caller_info.h"

namespace tandem::rpc {

absl::StatusOr<v1::HelloReply> SessionService::Hello(
    Call& call, const v1::HelloRequest& request) {
  v1::HelloReply reply = about_;
  *reply.mutable_caller() = ToProto(call.caller());
  return reply;
}

}  // namespace tandem::rpc

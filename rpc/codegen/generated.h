// What generated code calls, and nobody else does.

#ifndef TANDEM_RPC_CODEGEN_GENERATED_H_
#define TANDEM_RPC_CODEGEN_GENERATED_H_

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"
#include "rpc/server/reply.h"

namespace tandem::rpc {

// What a method that the handler does not override answers. `method` is
// "kv.v1.Store/Get".
absl::Status NotImplemented(std::string_view method);

// Method::move_reply.
template <typename M>
void MoveMessage(google::protobuf::MessageLite& from,
                 google::protobuf::MessageLite& to) {
  static_cast<M&>(to) = std::move(static_cast<M&>(from));
}

// Answers with what a handler returned.
template <typename R>
void FinishWith(ServerCall& call, absl::StatusOr<R> reply) {
  if (reply.ok()) {
    call.Finish(absl::OkStatus(), &*reply);
  } else {
    call.Finish(reply.status(), nullptr);
  }
}

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_CODEGEN_GENERATED_H_

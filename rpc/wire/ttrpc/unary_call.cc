#include "rpc/wire/ttrpc/unary_call.h"

#include "rpc/base/status_macros.h"
#include "rpc/wire/message_check.h"
#include "rpc/wire/ttrpc/served_connection.h"

namespace tandem::rpc::ttrpc {
namespace {

// A request that took more is not kept for the next call.
constexpr std::size_t kLarge = 16 << 10;

}  // namespace

absl::Status UnaryCall::TakePayload(std::string_view payload) {
  const MethodTable& table = connection_->table();
  is_large_ = payload.size() > kLarge;
  TANDEM_RETURN_IF_ERROR(
      connection_->CountRequest(target_, active_, payload.size(), *request_));
  return ParseMessage(payload, table.max_message_bytes(), target_.method->path,
                      request_.get());
}

void UnaryCall::Run() {
  if (is_cancelled()) {
    return Finish(absl::CancelledError("the client has gone"), nullptr);
  }
  target_.method->unary(target_.handler, *this);
}

void UnaryCall::Finish(const absl::Status& status,
                       google::protobuf::MessageLite* reply) {
  ForgetCallback();
  const std::shared_ptr<ServedConnection> connection = std::move(connection_);
  connection->Answer(*this, status, reply);
  active_.End();
  connection->TakeBack(*this);
}

}  // namespace tandem::rpc::ttrpc

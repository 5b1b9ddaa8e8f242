#include "rpc/server/call_guard.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem::rpc {
namespace {

std::string Path(const CallGuard::Method& method) {
  return absl::StrCat(std::string(method.service), "/",
                      std::string(method.name));
}

}  // namespace

absl::StatusOr<ActiveCall> CallGuard::Begin(
    std::shared_ptr<ServerConnection> connection, const Method& method) const {
  if (connection == nullptr) {
    absl::Status why = absl::PermissionDeniedError(
        "nobody knows who is at the other end of this connection");
    refusals_.Add(Refusal::kUnknownCaller, {}, std::string(why.message()));
    return why;
  }
  // What it began before waits in gRPC, and nobody would see an answer.
  if (connection->is_shut_down()) {
    return absl::CancelledError("the connection was ended");
  }
  const bool may_call = method.rule == nullptr
                            ? connection->may_call_what_has_no_rule()
                            : method.rule->who.Includes(connection->caller());
  if (!may_call) {
    return Refuse(Refusal::kNotAllowedToCall, *connection,
                  policy_.MayCall(connection->caller(), method.rule,
                                  method.service, method.name));
  }
  if (!connection->BeginCall(max_calls_per_connection_)) {
    return Refuse(
        Refusal::kTooManyCalls, *connection,
        absl::ResourceExhaustedError(absl::StrCat(
            Path(method), ": this connection has ", max_calls_per_connection_,
            " calls in flight, and the server takes no more on one (its "
            "max_calls_per_connection); call again when some have ended")));
  }
  return ActiveCall(std::move(connection));
}

absl::Status CallGuard::Hold(ActiveCall& call, std::size_t bytes,
                             const Method& method) const {
  const MemoryBudget* const full = call.Hold(bytes);
  if (full == nullptr) return absl::OkStatus();
  const bool is_of_uid = full == call.connection().request_memory();
  return Refuse(
      Refusal::kOutOfRequestMemory, call.connection(),
      absl::ResourceExhaustedError(absl::StrCat(
          Path(method), ": a message of ", bytes,
          " bytes is more than the server has left for requests",
          is_of_uid ? " of one uid" : "", " in flight (", full->max_bytes(),
          " bytes, its max_request_memory", is_of_uid ? "_per_uid" : "",
          "); call again when some have ended")));
}

absl::Status CallGuard::Refuse(Refusal reason, ServerConnection& connection,
                               absl::Status why) const {
  connection.CountRefusedCall();
  const std::string text(why.message());
  refusals_.Add(reason, connection.caller(),
                absl::StrCat("call refused: ", text));
  if (reason != Refusal::kReplyTooLarge) Charge(connection, text);
  return why;
}

void CallGuard::CountGivenUp(ServerConnection& connection,
                             const Method& method) const {
  Charge(connection,
         absl::StrCat(Path(method), ": given up before it was answered"));
}

void CallGuard::Charge(ServerConnection& connection,
                       std::string_view last) const {
  if (connection.Charge(max_charged_at_once_) || !connection.ShutDown()) return;
  refusals_.Add(
      Refusal::kTooManyCallsForNothing, connection.caller(),
      absl::StrCat("connection closed: more than ", max_charged_at_once_,
                   " calls at once were refused or given up, or more than a "
                   "thousand a second; the last of ",
                   connection.refused_calls(),
                   " that were refused: ", std::string(last)));
}

void CallGuard::CountStalled(const ServerConnection& connection,
                             const Method& method) const {
  refusals_.Add(Refusal::kSlowReader, connection.caller(),
                absl::StrCat(Path(method),
                             " ended: the client does not read its answer"));
}

void CallGuard::CountSilent(const ServerConnection& connection,
                            const Method& method) const {
  refusals_.Add(Refusal::kSlowWriter, connection.caller(),
                absl::StrCat(Path(method),
                             " ended: its handler waits for the client's next "
                             "message, and none came (read_timeout)"));
}

}  // namespace tandem::rpc

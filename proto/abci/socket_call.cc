#include "proto/abci/socket_call.h"

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "tendermint/abci/types.pb.h"
#include "tendermint/abci/types.tandem.h"

namespace tandem::abci {
namespace {

using google::protobuf::Descriptor;
using tendermint::abci::ABCIHandler;
using tendermint::abci::Request;
using tendermint::abci::Response;

// The member of `frame`, a Request or a Response, that is a `message`; 0 where
// there is none.
std::uint32_t MemberOf(const Descriptor& frame,
                       const google::protobuf::MessageLite& message) {
  const std::string name = message.GetTypeName();
  for (int i = 0; i < frame.field_count(); ++i) {
    if (frame.field(i)->message_type()->full_name() == name) {
      return static_cast<std::uint32_t>(frame.field(i)->number());
    }
  }
  return 0;
}

std::vector<SocketCall> MakeCalls() {
  std::vector<SocketCall> calls;
  for (const rpc::Method& method : ABCIHandler::Table().methods) {
    calls.push_back(
        {.method = &method,
         .request_member = MemberOf(*Request::descriptor(), *method.request),
         .response_member = MemberOf(*Response::descriptor(), *method.reply)});
  }
  return calls;
}

const std::vector<SocketCall>& Calls() {
  static const auto* const calls = new std::vector<SocketCall>(MakeCalls());
  return *calls;
}

// By request_member.
using ByMember = std::array<const SocketCall*, 32>;

ByMember MakeByMember() {
  ByMember by_member = {};
  for (const SocketCall& call : Calls()) {
    by_member.at(call.request_member) = &call;
  }
  return by_member;
}

}  // namespace

std::span<const SocketCall> SocketCalls() { return Calls(); }

const SocketCall* SocketCallOf(std::uint32_t request_member) {
  static const auto* const by_member = new ByMember(MakeByMember());
  return request_member < by_member->size() ? (*by_member)[request_member]
                                            : nullptr;
}

const SocketCall* SocketCallOf(const rpc::Method& method) {
  const std::vector<SocketCall>& calls = Calls();
  const auto index = static_cast<std::size_t>(method.index);
  if (method.service != ABCIHandler::Table().name || index >= calls.size()) {
    return nullptr;
  }
  return &calls[index];
}

const SocketCall& FlushCall() {
  static const SocketCall* const flush =
      SocketCallOf(static_cast<std::uint32_t>(Request::kFlushFieldNumber));
  return *flush;
}

}  // namespace tandem::abci

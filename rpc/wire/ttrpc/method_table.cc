#include "rpc/wire/ttrpc/method_table.h"

#include "tandem/rpc/v1/session.tandem.h"

namespace tandem::rpc::ttrpc {

MethodTable::MethodTable(const WireParts& parts) : parts_(parts) {
  for (const Served& served : parts_.services) {
    const bool is_session =
        served.info->name == v1::SessionHandler::Table().name;
    for (const Method& method : served.info->methods) {
      targets_.push_back(
          {.method = &method,
           .handler = served.handler,
           .guarded = parts_.guard->For(method.service, method.name),
           .is_hello = is_session && method.name == "Hello",
           .index = targets_.size()});
    }
  }
  for (const Target& target : targets_) {
    by_name_.emplace(Name(target.method->service, target.method->name),
                     &target);
  }
}

const Target* MethodTable::Find(std::string_view service,
                                std::string_view method) const {
  const auto found = by_name_.find(Name(service, method));
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace tandem::rpc::ttrpc

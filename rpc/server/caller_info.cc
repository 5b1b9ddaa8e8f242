#include "rpc/server/caller_info.h"

#include <string>

namespace tandem::rpc {

v1::CallerInfo ToProto(const Caller& caller) {
  v1::CallerInfo info;
  info.set_uid(caller.uid);
  info.set_gid(caller.gid);
  info.mutable_groups()->Add(caller.groups.begin(), caller.groups.end());
  info.set_pid(caller.pid);
  info.set_connection_id(caller.connection_id);
  info.set_wire(std::string(caller.wire));
  info.set_is_unmapped(caller.is_unmapped());
  return info;
}

}  // namespace tandem::rpc

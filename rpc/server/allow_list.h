// Users and groups that may do something.

#ifndef TANDEM_RPC_SERVER_ALLOW_LIST_H_
#define TANDEM_RPC_SERVER_ALLOW_LIST_H_

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rpc/server/caller.h"

namespace tandem::rpc {

// Decides by the kernel's word on the caller: its effective uid and gid, and
// its supplementary groups. Root is not special. Ids that are unmapped are on
// no list, not even on one that has their number.
//
// Names are looked up when they are added, and never again: who joins a group
// later is in it as soon as the kernel says so of a new connection, but a name
// that is given to another number is not noticed.
//
// Thread safety: thread-compatible.
class AllowList {
 public:
  // Whoever may connect.
  static AllowList Everybody();

  // The comma-separated list of a command line: "user:alice,group:ops,user:7",
  // or "*" for everybody. What consists of digits is a number, else it is a
  // name. Errors: kInvalidArgument; kNotFound (no such user or group).
  static absl::StatusOr<AllowList> Parse(std::string_view text);

  AllowList& AllowUid(uid_t uid);
  AllowList& AllowGid(gid_t gid);
  // By name, not by number. Errors: kNotFound; what the lookup says.
  absl::Status AllowUser(std::string_view name);
  absl::Status AllowGroup(std::string_view name);

  // Takes in what is on the other list.
  void Merge(const AllowList& other);

  // Constant time but for the lists' lengths; allocates nothing.
  bool Includes(const Caller& caller) const;

  bool is_everybody() const { return is_everybody_; }

  // "user alice (uid 1000), group ops (gid 27)", "nobody".
  std::string ToString() const;

 private:
  struct Entry {
    id_t id;
    std::string name;  // Empty where the number was given.
  };

  // One item of Parse()'s list.
  absl::Status Add(std::string_view item);

  bool is_everybody_ = false;
  std::vector<Entry> users_;
  std::vector<Entry> groups_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_ALLOW_LIST_H_

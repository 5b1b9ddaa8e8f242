// Who may connect to a server, and who may call what.

#ifndef TANDEM_RPC_SERVER_ACCESS_POLICY_H_
#define TANDEM_RPC_SERVER_ACCESS_POLICY_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "rpc/server/allow_list.h"
#include "rpc/server/caller.h"

namespace tandem::rpc {

// One object for all wires. Everybody whom it allows as such (AllowUid and the
// like) may connect and call whatever has no rule. A rule is for a service
// ("kv.v1.Store") or one of its methods ("kv.v1.Store/Put"): once there is one,
// only those whom it names may call that, and the rule of a method counts more
// than that of its service. Whom a rule names may connect, too, but call
// nothing else.
//
//   AccessPolicy policy = AccessPolicy::SameUser();
//   policy.AllowGid(kv);                            // all that has no rule
//   policy.AddRule("kv.v1.Store/Put=user:alice");   // alice, and only she
//
// Root is not special, and neither is the server's own uid: a rule that does
// not name it keeps it out.
//
// Thread safety: thread-compatible; immutable once a server has it.
class AccessPolicy {
 public:
  struct Rule {
    std::string scope;  // "kv.v1.Store" or "kv.v1.Store/Put"
    AllowList who;
  };

  // The uid that the server itself runs as. The default everywhere.
  static AccessPolicy SameUser();

  // Widens the policy where there is no rule.
  AccessPolicy& AllowUid(uid_t uid);
  AccessPolicy& AllowGid(gid_t gid);
  // By name, looked up now. Errors: kNotFound, with the name; what the lookup
  // says.
  absl::Status AllowUser(std::string_view name);
  absl::Status AllowGroup(std::string_view name);
  AccessPolicy& Allow(const AllowList& who);

  // Makes a rule, or adds to the one that there is for `scope`. Errors:
  // kInvalidArgument (not a service or method).
  absl::Status AllowCall(std::string_view scope, const AllowList& who);
  // The same, of a command line: "SERVICE[/METHOD]=WHO,WHO", with WHO as in
  // AllowList::Parse. Errors: kInvalidArgument; kNotFound.
  absl::Status AddRule(std::string_view text);
  // What holds for a service until somebody makes a rule for it (not for its
  // methods alone). Lets nobody connect.
  void SetDefault(std::string_view service, const AllowList& who);

  // Errors: kInvalidArgument when a rule is for something that is not among
  // `scopes`, the services and methods that there are.
  absl::Status CheckScopes(
      const std::set<std::string, std::less<>>& scopes) const;

  bool MayConnect(const Caller& caller) const;
  // Whether `caller` may call what has no rule.
  bool MayCallWhatHasNoRule(const Caller& caller) const {
    return allowed_.Includes(caller);
  }
  // The rule that decides; null where there is none. To be asked once per
  // method: it stays as long as the policy does.
  const Rule* RuleFor(std::string_view service, std::string_view method) const;

  // Errors: kPermissionDenied, with the caller and the rule.
  absl::Status MayCall(const Caller& caller, std::string_view service,
                       std::string_view method) const;
  // The same by the rule that decides (RuleFor), as wires ask it: allocates
  // nothing for who may.
  absl::Status MayCall(const Caller& caller, const Rule* rule,
                       std::string_view service, std::string_view method) const;

  // Whom MayConnect() lets in: "uid 0, group ops (gid 27)".
  std::string WhoMayConnect() const;

 private:
  using Rules = std::map<std::string, Rule, std::less<>>;

  AllowList allowed_;
  Rules rules_;
  Rules defaults_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_ACCESS_POLICY_H_

#include "rpc/server/access_policy.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"

namespace tandem::rpc {
namespace {

// A letter or underscore, then those and digits.
bool IsIdentifier(std::string_view text) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !text.empty() && is_letter(text.front()) &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return is_letter(c) || (c >= '0' && c <= '9');
         });
}

// "kv.v1.Store" or "kv.v1.Store/Put".
bool IsScope(std::string_view text) {
  const std::size_t slash = std::min(text.find('/'), text.size());
  if (slash != text.size() && !IsIdentifier(text.substr(slash + 1))) {
    return false;
  }
  const std::string_view service = text.substr(0, slash);
  std::size_t begin = 0;
  while (true) {
    const std::size_t dot = std::min(service.find('.', begin), service.size());
    if (!IsIdentifier(service.substr(begin, dot - begin))) return false;
    if (dot == service.size()) return true;
    begin = dot + 1;
  }
}

}  // namespace

AccessPolicy AccessPolicy::SameUser() {
  return AccessPolicy().AllowUid(::geteuid());
}

AccessPolicy& AccessPolicy::AllowUid(uid_t uid) {
  allowed_.AllowUid(uid);
  return *this;
}

AccessPolicy& AccessPolicy::AllowGid(gid_t gid) {
  allowed_.AllowGid(gid);
  return *this;
}

absl::Status AccessPolicy::AllowUser(std::string_view name) {
  return allowed_.AllowUser(name);
}

absl::Status AccessPolicy::AllowGroup(std::string_view name) {
  return allowed_.AllowGroup(name);
}

AccessPolicy& AccessPolicy::Allow(const AllowList& who) {
  allowed_.Merge(who);
  return *this;
}

absl::Status AccessPolicy::AllowCall(std::string_view scope,
                                     const AllowList& who) {
  if (!IsScope(scope)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", std::string(scope),
        "\" is neither a service such as kv.v1.Store nor a method such as "
        "kv.v1.Store/Put"));
  }
  Rule& rule = rules_[std::string(scope)];
  rule.scope = scope;
  rule.who.Merge(who);
  return absl::OkStatus();
}

absl::Status AccessPolicy::AddRule(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(text),
                     "\" is no rule: write SERVICE=WHO or SERVICE/METHOD=WHO, "
                     "such as kv.v1.Store/Put=user:alice,group:ops"));
  }
  TANDEM_ASSIGN_OR_RETURN(const AllowList who,
                          AllowList::Parse(text.substr(equals + 1)));
  return AllowCall(text.substr(0, equals), who);
}

void AccessPolicy::SetDefault(std::string_view service, const AllowList& who) {
  defaults_[std::string(service)] =
      Rule{.scope = std::string(service), .who = who};
}

absl::Status AccessPolicy::CheckScopes(
    const std::set<std::string, std::less<>>& scopes) const {
  for (const auto& [scope, rule] : rules_) {
    if (scopes.contains(scope)) continue;
    std::string services;
    for (const std::string& known : scopes) {
      if (known.find('/') != std::string::npos) continue;
      absl::StrAppend(&services, services.empty() ? "" : ", ", known);
    }
    return absl::InvalidArgumentError(
        absl::StrCat("there is a rule for ", scope,
                     ", which this server does not have; it has ", services));
  }
  return absl::OkStatus();
}

bool AccessPolicy::MayConnect(const Caller& caller) const {
  return allowed_.Includes(caller) ||
         std::any_of(rules_.begin(), rules_.end(), [&](const auto& named) {
           const AllowList& who = named.second.who;
           return !who.is_everybody() && who.Includes(caller);
         });
}

const AccessPolicy::Rule* AccessPolicy::RuleFor(std::string_view service,
                                                std::string_view method) const {
  const std::string path =
      absl::StrCat(std::string(service), "/", std::string(method));
  if (const auto it = rules_.find(path); it != rules_.end()) {
    return &it->second;
  }
  if (const auto it = rules_.find(service); it != rules_.end()) {
    return &it->second;
  }
  if (const auto it = defaults_.find(service); it != defaults_.end()) {
    return &it->second;
  }
  return nullptr;
}

absl::Status AccessPolicy::MayCall(const Caller& caller,
                                   std::string_view service,
                                   std::string_view method) const {
  return MayCall(caller, RuleFor(service, method), service, method);
}

absl::Status AccessPolicy::MayCall(const Caller& caller, const Rule* rule,
                                   std::string_view service,
                                   std::string_view method) const {
  const AllowList& who = rule == nullptr ? allowed_ : rule->who;
  if (who.Includes(caller)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat(caller.Name(), " may not call ", std::string(service), "/",
                   std::string(method), ": ",
                   rule == nullptr ? "there is no rule for it, and the server"
                                   : absl::StrCat("the rule for ", rule->scope),
                   " allows ", who.ToString()));
}

std::string AccessPolicy::WhoMayConnect() const {
  AllowList all = allowed_;
  for (const auto& [scope, rule] : rules_) {
    if (!rule.who.is_everybody()) all.Merge(rule.who);
  }
  return all.ToString();
}

}  // namespace tandem::rpc

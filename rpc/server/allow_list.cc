#include "rpc/server/allow_list.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"
#include "rpc/base/unmapped_id.h"

namespace tandem::rpc {
namespace {

// Calls one of the get*nam_r functions with a buffer that is large enough.
// Null when there is no such name.
template <typename Record, typename Lookup>
absl::StatusOr<Record*> Find(Lookup lookup, const std::string& name,
                             Record* record, std::vector<char>* buffer) {
  buffer->resize(1024);
  while (true) {
    Record* found = nullptr;
    const int error =
        lookup(name.c_str(), record, buffer->data(), buffer->size(), &found);
    if (error == 0) return found;
    if (error == ERANGE && buffer->size() < (1 << 24)) {
      buffer->resize(2 * buffer->size());
      continue;
    }
    // Some name services say these for a name that there is not.
    if (error == ENOENT || error == ESRCH) return nullptr;
    if (error != EINTR) {
      return absl::ErrnoToStatus(error, absl::StrCat("look up ", name));
    }
  }
}

absl::StatusOr<id_t> ParseId(std::string_view digits) {
  std::uint32_t id = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), id);
  // The last one stands for no id.
  if (error != std::errc() || end != digits.data() + digits.size() ||
      id == UINT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(digits),
                     "\" is not an id: those are 0 "
                     "to 4294967294"));
  }
  return id;
}

bool IsNumber(std::string_view text) {
  return !text.empty() &&
         text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

AllowList AllowList::Everybody() {
  AllowList list;
  list.is_everybody_ = true;
  return list;
}

absl::StatusOr<AllowList> AllowList::Parse(std::string_view text) {
  if (text == "*") return Everybody();
  AllowList list;
  std::size_t begin = 0;
  while (true) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    TANDEM_RETURN_IF_ERROR(list.Add(text.substr(begin, comma - begin)));
    if (comma == text.size()) return list;
    begin = comma + 1;
  }
}

absl::Status AllowList::Add(std::string_view item) {
  const std::size_t colon = std::min(item.find(':'), item.size());
  const std::string_view kind = item.substr(0, colon);
  const std::string_view who = item.substr(std::min(colon + 1, item.size()));
  if (who.empty() || (kind != "user" && kind != "group")) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(item),
                     "\" names nobody: write user:NAME, user:UID, group:NAME "
                     "or group:GID, with commas between, or * for everybody "
                     "who may connect"));
  }
  if (!IsNumber(who)) {
    return kind == "user" ? AllowUser(who) : AllowGroup(who);
  }
  TANDEM_ASSIGN_OR_RETURN(const id_t id, ParseId(who));
  kind == "user" ? AllowUid(id) : AllowGid(id);
  return absl::OkStatus();
}

AllowList& AllowList::AllowUid(uid_t uid) {
  users_.push_back({uid, ""});
  return *this;
}

AllowList& AllowList::AllowGid(gid_t gid) {
  groups_.push_back({gid, ""});
  return *this;
}

absl::Status AllowList::AllowUser(std::string_view name) {
  passwd record;
  std::vector<char> buffer;
  TANDEM_ASSIGN_OR_RETURN(
      const passwd* found,
      Find<passwd>(::getpwnam_r, std::string(name), &record, &buffer));
  if (found == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("there is no user \"", std::string(name), "\""));
  }
  users_.push_back({found->pw_uid, std::string(name)});
  return absl::OkStatus();
}

absl::Status AllowList::AllowGroup(std::string_view name) {
  group record;
  std::vector<char> buffer;
  TANDEM_ASSIGN_OR_RETURN(
      const group* found,
      Find<group>(::getgrnam_r, std::string(name), &record, &buffer));
  if (found == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("there is no group \"", std::string(name), "\""));
  }
  groups_.push_back({found->gr_gid, std::string(name)});
  return absl::OkStatus();
}

void AllowList::Merge(const AllowList& other) {
  is_everybody_ |= other.is_everybody_;
  users_.insert(users_.end(), other.users_.begin(), other.users_.end());
  groups_.insert(groups_.end(), other.groups_.begin(), other.groups_.end());
}

bool AllowList::Includes(const Caller& caller) const {
  if (is_everybody_) return true;
  for (const Entry& user : users_) {
    if (IsUser(caller.uid, user.id)) return true;
  }
  for (const Entry& group : groups_) {
    if (std::find(caller.groups.begin(), caller.groups.end(), group.id) !=
            caller.groups.end() &&
        !IsUnmappedGid(group.id)) {
      return true;
    }
  }
  return false;
}

std::string AllowList::ToString() const {
  if (is_everybody_) return "everybody who may connect";
  std::string text;
  const auto add = [&text](std::string_view kind, std::string_view id_kind,
                           const Entry& entry) {
    if (!text.empty()) text += ", ";
    if (entry.name.empty()) {
      absl::StrAppend(&text, std::string(id_kind), " ", entry.id);
    } else {
      absl::StrAppend(&text, std::string(kind), " ", entry.name, " (",
                      std::string(id_kind), " ", entry.id, ")");
    }
  };
  for (const Entry& user : users_) add("user", "uid", user);
  for (const Entry& group : groups_) add("group", "gid", group);
  return text.empty() ? "nobody" : text;
}

}  // namespace tandem::rpc

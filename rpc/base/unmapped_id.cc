#include "rpc/base/unmapped_id.h"

#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace tandem::rpc {
namespace {

constexpr std::uint32_t kUsualOverflowId = 65534;

std::string Read(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Nothing where every number is somebody's.
std::optional<std::uint32_t> OverflowId(const char* id_map,
                                        const char* overflow_id) {
  if (HasAllIds(Read(id_map))) return std::nullopt;
  std::uint32_t id = kUsualOverflowId;
  std::istringstream(Read(overflow_id)) >> id;
  return id;
}

}  // namespace

bool HasAllIds(std::string_view id_map) {
  std::istringstream lines{std::string(id_map)};
  std::uint64_t inside, outside, count;
  std::uint64_t ids = 0;
  // The kernel sees to it that ranges do not overlap.
  while (lines >> inside >> outside >> count) ids += count;
  return lines.eof() && ids >= 0xffffffff;
}

bool IsUnmappedUid(uid_t uid) {
  static const std::optional<std::uint32_t> overflow =
      OverflowId("/proc/self/uid_map", "/proc/sys/kernel/overflowuid");
  return overflow == uid;
}

bool IsUnmappedGid(gid_t gid) {
  static const std::optional<std::uint32_t> overflow =
      OverflowId("/proc/self/gid_map", "/proc/sys/kernel/overflowgid");
  return overflow == gid;
}

bool IsUser(uid_t shown, uid_t uid) {
  return shown == uid && !IsUnmappedUid(shown);
}

std::string UidName(uid_t shown) {
  if (IsUnmappedUid(shown)) {
    return absl::StrCat("an unmapped uid (shown as ", shown, ")");
  }
  return absl::StrCat("uid ", shown);
}

}  // namespace tandem::rpc

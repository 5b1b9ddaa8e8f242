// Runs a piece of a test in a user namespace of its own, as in a container.

#ifndef TANDEM_TESTS_SUPPORT_USER_NAMESPACE_H_
#define TANDEM_TESTS_SUPPORT_USER_NAMESPACE_H_

#include <sched.h>
#include <sys/types.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/support/child.h"

namespace tandem::test {

// A user, and the group of the same number, who has another number within.
struct MappedId {
  uid_t inside;
  uid_t outside;
};

// Makes this process (a child of root, without threads) one of a new namespace
// that has these users alone. It is still who it was: Become() somebody there.
// To be called before anything asks rpc/base/unmapped_id.h, which remembers.
// False where the machine forbids it.
inline bool EnterUserNamespace(const std::vector<MappedId>& ids) {
  std::string map;
  for (const MappedId& id : ids) {
    map +=
        std::to_string(id.inside) + " " + std::to_string(id.outside) + " 1\n";
  }
  const std::string proc = "/proc/" + std::to_string(::getpid());
  Pipe entered;
  // Several ids can be mapped from outside only.
  Child writer([&] {
    if (entered.Read() != '1') return 1;
    std::ofstream uids(proc + "/uid_map");
    std::ofstream gids(proc + "/gid_map");
    return (uids << map << std::flush) && (gids << map << std::flush) ? 0 : 1;
  });
  const bool is_inside = ::unshare(CLONE_NEWUSER) == 0;
  entered.Write(is_inside ? '1' : '0');
  return writer.Wait() == 0 && is_inside;
}

// Tests that use namespaces begin with
//   if (!CanMakeUserNamespaces()) GTEST_SKIP() << kNeedsUserNamespaces;
//   if (!RunsAlone()) GTEST_SKIP() << kRunsAlone;
inline bool CanMakeUserNamespaces() {
  return CanBecomeOthers() && Child([] {
                                return EnterUserNamespace({{0, 0}}) ? 0 : 1;
                              }).Wait() == 0;
}
inline constexpr char kNeedsUserNamespaces[] =
    "NOT TESTED: needs root, and a kernel that allows user namespaces";

// Runs `body` as the user `uid` of such a namespace; returns its result.
inline int RunInside(const std::vector<MappedId>& ids, uid_t uid,
                     const std::function<int()>& body) {
  return Child([&] {
           return EnterUserNamespace(ids) && Become(uid) ? body() : 99;
         })
      .Wait();
}

}  // namespace tandem::test

#endif  // TANDEM_TESTS_SUPPORT_USER_NAMESPACE_H_

// Who is who, where processes do not share a user namespace, or pass their
// connections on.

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "rpc/client/channel.h"
#include "rpc/server/server.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "rpc/wire/grpc/grpc_transport.h"
#include "tandem/rpc/v1/session.tandem.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/support/child.h"
#include "tests/support/raw_grpc.h"
#include "tests/support/user_namespace.h"

namespace tandem::rpc {
namespace {

using test::MappedId;
using testing::IsOk;
using tests::wire::ProbeService;

constexpr uid_t kGuest = test::kForeignUid;
constexpr uid_t kOther = kGuest + 1;
// How the unmapped are shown; outside of containers, a user as any other.
constexpr uid_t kNobody = 65534;

class CallersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!test::CanBecomeOthers()) GTEST_SKIP() << test::kNeedsRoot;
    if (!test::RunsAlone()) GTEST_SKIP() << test::kRunsAlone;
    ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
  }

  // A process that runs `body` once Go() is called, as the user `uid` of a
  // namespace that has `ids`, or of ours where there are none. To be made
  // before the server.
  std::unique_ptr<test::Child> Client(const std::vector<MappedId>& ids,
                                      uid_t uid,
                                      const std::function<int()>& body) {
    return std::make_unique<test::Child>([=, this] {
      go_.WaitClosed();
      if (!ids.empty() && !test::EnterUserNamespace(ids)) return 97;
      if (!test::Become(uid)) return 98;
      return body();
    });
  }
  void Go() { go_.Close(); }

  ServerOptions Options(AccessPolicy access) {
    return {.address = dir_.Address("s"),
            .permissions = {.mode = 0666},
            .access = std::move(access),
            .services = {Serve(probe_)}};
  }
  // Here.
  void Start(AccessPolicy access) {
    auto server = Server::Start(Options(std::move(access)));
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }
  // As root of a namespace that has `ids`, in a process of its own. Who is root
  // there has the directory.
  void StartInside(const std::vector<MappedId>& ids,
                   const std::function<AccessPolicy()>& access) {
    ASSERT_EQ(::chown(dir_.path().c_str(), ids.front().outside, 0), 0);
    inside_ = std::make_unique<test::Child>([&] {
      go_.Close();
      if (!test::EnterUserNamespace(ids) || !test::Become(0)) return 1;
      const auto server = Server::Start(Options(access()));
      ready_.Write(server.ok() ? 'y' : 'n');
      ::pause();
      return 0;
    });
    ASSERT_EQ(ready_.Read(), 'y');
  }

  // For clients.

  // That whichever uid we expect, we send nothing to the server.
  bool RefusesServer() const {
    for (const uid_t expected : {uid_t{0}, kNobody, kGuest, ::geteuid()}) {
      const auto channel =
          Channel::Connect(dir_.Address("s"), {.server_uid = expected});
      const absl::Status status =
          v1::SessionClient(**channel).Hello({}, {}).status();
      if (!absl::IsPermissionDenied(status) ||
          status.message().find("an unmapped uid") == std::string::npos) {
        return false;
      }
    }
    return true;
  }
  // That the server closes on us, and says nothing.
  bool IsRefused() const {
    const UniqueFd fd = test::ConnectTo(dir_.File("s"));
    test::Say(fd, test::Greeting());
    char byte;
    return fd.is_valid() && ::recv(fd.get(), &byte, 1, 0) <= 0;
  }
  // Whom the server takes us for, whoever it may be.
  static v1::CallerInfo CallerOn(UniqueFd connection) {
    auto transport =
        GrpcTransport::Create(std::move(connection), {.peer = "the server"});
    if (!transport.ok()) return {};
    const auto hello = v1::SessionClient(**transport).Hello({}, {});
    return hello.ok() ? hello->caller() : v1::CallerInfo();
  }
  v1::CallerInfo CallerHere() const {
    return CallerOn(test::ConnectTo(dir_.File("s")));
  }

  testing::TempDir dir_;
  ProbeService probe_;
  test::Pipe go_;
  test::Pipe ready_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<test::Child> inside_;
};

class NamespacesTest : public CallersTest {
 protected:
  void SetUp() override {
    if (!test::CanMakeUserNamespaces()) {
      GTEST_SKIP() << test::kNeedsUserNamespaces;
    }
    CallersTest::SetUp();
  }
};

// A client inside, and the server outside.

TEST_F(NamespacesTest, RootInsideIsNotRootOutside) {
  const auto client = Client({{0, kGuest}}, 0, [this] {
    if (!IsRefused()) return 1;
    return RefusesServer() ? 0 : 2;
  });
  Start(AccessPolicy::SameUser());
  Go();
  EXPECT_EQ(client->Wait(), 0);
}

TEST_F(NamespacesTest, NobodyInsideIsNotTheUserOfThatNumberOutside) {
  const auto client = Client({{kNobody, kGuest}}, kNobody, [this] {
    if (!IsRefused()) return 1;
    return RefusesServer() ? 0 : 2;
  });
  Start(AccessPolicy().AllowUid(kNobody).AllowGid(kNobody));
  Go();
  EXPECT_EQ(client->Wait(), 0);
}

TEST_F(NamespacesTest, WhoIsAllowedMayComeFromInsideAndKnowsTheServer) {
  constexpr uid_t kServerInside = 7;
  const auto client = Client({{0, kGuest}, {kServerInside, 0}}, 0, [this] {
    const auto channel =
        Channel::Connect(dir_.Address("s"), {.server_uid = kServerInside});
    const auto hello = v1::SessionClient(**channel).Hello({}, {});
    if (!hello.ok()) return 1;
    if (hello->caller().uid() != kGuest || hello->caller().is_unmapped()) {
      return 2;
    }
    // Root inside is somebody else than root outside.
    const auto wrong = Channel::Connect(dir_.Address("s"), {.server_uid = 0});
    return absl::IsPermissionDenied(
               v1::SessionClient(**wrong).Hello({}, {}).status())
               ? 0
               : 3;
  });
  Start(AccessPolicy::SameUser().AllowUid(kGuest));
  Go();
  EXPECT_EQ(client->Wait(), 0);
}

// Both inside, of namespaces of their own.

TEST_F(NamespacesTest, StrangersInsideDoNotKnowEachOtherWhateverTheirNumbers) {
  const auto stranger = [this](uid_t inside) {
    return Client({{inside, kOther}}, inside, [this] {
      if (!IsRefused()) return 1;
      return RefusesServer() ? 0 : 2;
    });
  };
  const auto root = stranger(0);
  const auto nobody = stranger(kNobody);
  StartInside({{0, kGuest}}, [] {
    return AccessPolicy::SameUser()
        .AllowUid(kNobody)
        .AllowGid(kNobody)
        .AllowUid(kOther);
  });
  Go();
  EXPECT_EQ(root->Wait(), 0);
  EXPECT_EQ(nobody->Wait(), 0);
}

TEST_F(NamespacesTest, AStrangerInsideIsShownAsUnmappedWhereAllMayCome) {
  const auto client = Client({{0, kOther}}, 0, [this] {
    const v1::CallerInfo caller = CallerHere();
    return caller.is_unmapped() && caller.uid() == kNobody ? 0 : 1;
  });
  StartInside({{0, kGuest}},
              [] { return AccessPolicy().Allow(AllowList::Everybody()); });
  Go();
  EXPECT_EQ(client->Wait(), 0);
}

TEST_F(NamespacesTest, OneUserOfTwoNumbersKnowsItself) {
  const auto client = Client({{5, kGuest}}, 5, [this] {
    const auto channel = Channel::Connect(dir_.Address("s"));
    const auto hello = v1::SessionClient(**channel).Hello({}, {});
    if (!hello.ok()) return 1;
    return hello->caller().uid() == 0 && !hello->caller().is_unmapped() ? 0 : 2;
  });
  StartInside({{0, kGuest}}, [] { return AccessPolicy::SameUser(); });
  Go();
  EXPECT_EQ(client->Wait(), 0);
}

// Connections that somebody else made.

// Sends `fd` over the unix socket `to`.
bool Pass(int to, int fd) {
  char byte = 0;
  iovec bytes{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(int));
  return ::sendmsg(to, &message, 0) == 1;
}

UniqueFd TakePassed(int from) {
  char byte;
  iovec bytes{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (::recvmsg(from, &message, MSG_CMSG_CLOEXEC) != 1 ||
      CMSG_FIRSTHDR(&message) == nullptr) {
    return UniqueFd();
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
  return UniqueFd(fd);
}

TEST_F(CallersTest, AConnectionThatIsPassedOnStaysWhoseItWas) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const auto giver = Client({}, kGuest, [&] {
    const UniqueFd fd = test::ConnectTo(dir_.File("s"));
    return Pass(pair[0], fd.get()) ? 0 : 1;
  });
  const pid_t giver_pid = giver->pid();
  const auto taker = Client({}, kOther, [&] {
    // Who may not come himself, comes as the giver.
    if (!IsRefused()) return 1;
    const v1::CallerInfo caller = CallerOn(TakePassed(pair[1]));
    if (caller.uid() != kGuest || caller.gid() != kGuest) return 2;
    return caller.pid() == giver_pid ? 0 : 3;
  });
  Start(AccessPolicy().AllowUid(kGuest));
  Go();
  EXPECT_EQ(giver->Wait(), 0);
  EXPECT_EQ(taker->Wait(), 0);
  ::close(pair[0]);
  ::close(pair[1]);
}

TEST_F(CallersTest, AConnectionStaysWhoseItWasWhenTheProcessBecomesAnother) {
  const auto client = Client({}, 0, [this] {
    UniqueFd fd = test::ConnectTo(dir_.File("s"));
    if (!test::Become(kGuest)) return 1;
    if (!IsRefused()) return 2;
    const v1::CallerInfo caller = CallerOn(std::move(fd));
    return caller.pid() == ::getpid() && caller.uid() == 0 ? 0 : 3;
  });
  Start(AccessPolicy::SameUser());
  Go();
  EXPECT_EQ(client->Wait(), 0);
}

}  // namespace
}  // namespace tandem::rpc

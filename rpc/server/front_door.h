// Takes connections, decides who may come in, and hands them to gRPC.

#ifndef TANDEM_RPC_SERVER_FRONT_DOOR_H_
#define TANDEM_RPC_SERVER_FRONT_DOOR_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/base/unique_fd.h"
#include "rpc/server/access_policy.h"
#include "rpc/server/connection_table.h"
#include "rpc/socket/peer_credentials.h"

namespace tandem::rpc {

struct FrontDoorOptions {
  AccessPolicy access = AccessPolicy::SameUser();
  // Connections in total and per uid, those that have said nothing yet
  // included.
  int max_connections = 1024;
  int max_connections_per_uid = 256;
  // From accept(2) until the client's first 24 bytes are there.
  absl::Duration preface_timeout = absl::Seconds(5);
};

// What became of connections since the door was opened.
struct FrontDoorCounts {
  std::uint64_t accepted = 0;
  // Refused by the access policy, and by a limit.
  std::uint64_t not_allowed = 0;
  std::uint64_t over_limit = 0;
  // Not gRPC, or gone before it was; and silent for too long.
  std::uint64_t not_grpc = 0;
  std::uint64_t timed_out = 0;
  // Handed over, and of these still open.
  std::uint64_t served = 0;
  std::uint64_t open = 0;
};

// One thread that accepts from a listening socket. Each connection passes: the
// limits, the access policy over what the kernel says of the peer, the 24 bytes
// that every HTTP/2 client begins with, unread (gRPC enforces no limit on them
// for a descriptor that it is given). Then its caller is entered in the
// ConnectionTable and the descriptor handed over. Whatever fails costs that one
// connection: it is closed and nothing is sent, for a client that is told why
// by GOAWAY comes back at once, and one that is closed on waits. Out of
// descriptors, it closes the newest connection and goes on.
//
// It keeps a duplicate of each descriptor handed over, to notice that the
// connection has ended: so a connection costs two descriptors.
//
// Thread safety: thread-safe, but for the destructor.
class FrontDoor {
 public:
  // Given each connection that came in, on the door's thread; must not block.
  using HandOver = std::function<void(UniqueFd connection)>;

  // Begins to accept from `listening`, a socket that does not block, which is
  // borrowed until StopAccepting() returns; `table` until the destructor does.
  // Errors: kResourceExhausted (descriptors).
  static absl::StatusOr<std::unique_ptr<FrontDoor>> Open(
      int listening, FrontDoorOptions options, ConnectionTable& table,
      HandOver hand_over);

  // Accepts nothing: lets in `connection`, which does not block, as if it had
  // been accepted now. Errors: kPermissionDenied when it is refused, which is
  // logged; kResourceExhausted.
  static absl::StatusOr<std::unique_ptr<FrontDoor>> OpenFor(
      UniqueFd connection, FrontDoorOptions options, ConnectionTable& table,
      HandOver hand_over);

  // StopAccepting(), and forgets the connections handed over.
  ~FrontDoor();
  FrontDoor(const FrontDoor&) = delete;
  FrontDoor& operator=(const FrontDoor&) = delete;

  // Once it returns nothing is accepted or handed over any more, and what had
  // not been handed over is closed. Idempotent. Not from within HandOver.
  void StopAccepting() ABSL_LOCKS_EXCLUDED(mu_);

  FrontDoorCounts counts() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // A connection that has not yet said what it wants.
  struct Waiting {
    UniqueFd fd;
    Caller caller;
    absl::Time deadline;
  };
  // A connection that was handed over.
  struct Served {
    UniqueFd duplicate;
    uid_t uid;
  };

  FrontDoor(int listening, FrontDoorOptions options, ConnectionTable& table,
            HandOver hand_over);
  // All but the thread.
  absl::Status SetUp();
  void Start();

  // What follows runs on the door's thread.
  void Run();
  void AcceptAll();
  // False when there is nothing to accept now.
  bool AcceptOne();
  void MakeRoom();
  void PauseAccepting();
  void ResumeAccepting();
  void Admit(UniqueFd fd);
  // Says no in the counts and the log; the connection closes with its owner.
  void Refuse(std::uint64_t FrontDoorCounts::*count, const Caller& caller,
              std::string_view why);
  void HandleEvents(std::uint64_t id, std::uint32_t events);
  void LookAtPreface(std::uint64_t id, Waiting& connection, bool peer_left);
  void Serve(std::uint64_t id, Waiting& connection);
  void ForgetWaiting(std::uint64_t id);
  void ForgetServed(std::uint64_t id);
  void Leave(uid_t uid);
  void CloseOverdue();
  void CloseWaiting();
  int NextWakeUpMillis() const;
  bool Watch(int fd, std::uint64_t id, std::uint32_t events);
  void Count(std::uint64_t FrontDoorCounts::*count) ABSL_LOCKS_EXCLUDED(mu_);

  // -1: nothing is accepted.
  const int listening_;
  const FrontDoorOptions options_;
  ConnectionTable& table_;
  const HandOver hand_over_;

  UniqueFd epoll_;
  UniqueFd wake_up_;
  // Given up to accept and close one connection when there are no others.
  UniqueFd reserve_;

  // Of the door's thread alone. By connection id; ids ascend, so those that
  // wait are in the order of their deadlines.
  std::map<std::uint64_t, Waiting> waiting_;
  std::map<std::uint64_t, Served> served_;
  std::map<uid_t, int> connections_per_uid_;
  std::uint64_t last_id_ = 0;
  // While there is no descriptor left even to refuse with.
  absl::Time paused_until_ = absl::InfinitePast();
  absl::Time next_log_ = absl::InfinitePast();
  std::uint64_t unlogged_ = 0;

  enum class Phase { kAccepting, kStopping, kStopped, kEnding };
  mutable Mutex mu_;
  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kAccepting;
  FrontDoorCounts counts_ ABSL_GUARDED_BY(mu_);

  // Last: it uses all of the above.
  std::thread thread_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_FRONT_DOOR_H_

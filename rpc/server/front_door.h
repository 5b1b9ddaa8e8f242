// Takes connections, decides who may come in, and hands them to their wires.

#ifndef TANDEM_RPC_SERVER_FRONT_DOOR_H_
#define TANDEM_RPC_SERVER_FRONT_DOOR_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/base/mutex.h"
#include "rpc/base/unique_fd.h"
#include "rpc/server/access_policy.h"
#include "rpc/server/connection_table.h"
#include "rpc/server/memory_budget.h"
#include "rpc/server/refusal_log.h"
#include "rpc/server/server_connection.h"
#include "rpc/wire/wire.h"

namespace tandem::rpc {

struct FrontDoorOptions {
  AccessPolicy access = AccessPolicy::SameUser();
  // Connections in total and per uid, those that have said nothing yet
  // included.
  int max_connections = 1024;
  int max_connections_per_uid = 256;
  // From the client's first byte until there are enough to know its wire by.
  absl::Duration preface_timeout = absl::Seconds(5);
  // Without a call, or a first byte; then the connection is ended, once its
  // client has been silent for 5 s too, or for this where it is shorter: a
  // unary call begins when all of its request is there. What comes in just then
  // is lost with it.
  absl::Duration idle_timeout = absl::InfiniteDuration();
  // For a client to take one message of an answer; then the call is ended, and
  // after as long again the connection.
  absl::Duration write_timeout = absl::Minutes(1);
  // For a client to send the message that a handler is blocked for; then the
  // call is ended.
  absl::Duration read_timeout = absl::Minutes(1);
  // What the requests in flight may take: of all, which may be null, and of one
  // uid.
  std::shared_ptr<MemoryBudget> request_memory = nullptr;
  std::size_t max_request_memory_per_uid = std::size_t{512} << 20;
};

// Connections since the door was opened. Those accepted were served, unused or
// refused, or still wait.
struct FrontDoorCounts {
  std::uint64_t accepted = 0;
  // Whose client left without a byte, as who only looks whether a server lives
  // does. Nothing was asked, so nothing is refused.
  std::uint64_t unused = 0;
  // Handed over, and of these still open.
  std::uint64_t served = 0;
  std::uint64_t open = 0;
  // Of the others, those that have not said which wire they speak.
  std::uint64_t waiting = 0;
  // Those that the uid with most has.
  int most_of_one_uid = 0;
};

// One thread that accepts from a listening socket. Each connection passes: the
// limits, the access policy over what the kernel says of the peer, and the
// first bytes, by which one of the wires knows it (first_bytes.h), unread. Then
// it is entered in the ConnectionTable and handed to the wire. Whatever fails
// costs that one connection: it is closed and nothing is sent, for a client
// that is told why (by GOAWAY) comes back at once, and one that is closed on
// waits; why, is in the RefusalLog. Who was let in and says nothing may wait,
// for as long as an idle connection may: clients connect early, and a person
// may be typing.
//
// The last descriptors that the process may have are not given to clients, so
// that the program can still open its files; when others have taken even these,
// the door closes the newest connection and goes on.
//
// It keeps a duplicate of each descriptor handed over, to notice that the
// connection has ended: so a connection costs two descriptors. Once a second it
// looks at connections that are idle, or whose client neither reads nor sends
// what is waited for.
//
// Thread safety: thread-safe, but for the destructor.
class FrontDoor {
 public:
  // Begins to accept from `listening`, a socket that does not block, which is
  // borrowed until StopAccepting() returns; `table`, `refusals` and `wires`,
  // which are asked in this order, until the destructor does.
  // Errors: kResourceExhausted (descriptors).
  static absl::StatusOr<std::unique_ptr<FrontDoor>> Open(
      int listening, FrontDoorOptions options, ConnectionTable& table,
      RefusalLog& refusals, std::vector<Wire*> wires);

  // Accepts nothing: lets in `connection`, which does not block, as if it had
  // been accepted now. Errors: kPermissionDenied when it is refused, which is
  // logged; kResourceExhausted.
  static absl::StatusOr<std::unique_ptr<FrontDoor>> OpenFor(
      UniqueFd connection, FrontDoorOptions options, ConnectionTable& table,
      RefusalLog& refusals, std::vector<Wire*> wires);

  // StopAccepting(), and forgets the connections handed over.
  ~FrontDoor();
  FrontDoor(const FrontDoor&) = delete;
  FrontDoor& operator=(const FrontDoor&) = delete;

  // Once it returns nothing is accepted or handed over any more, and what had
  // not been handed over is closed. What was, is ended at `end_served`: gRPC
  // does not end a connection whose client reads nothing. Idempotent. Not from
  // within Wire::Serve().
  void StopAccepting(absl::Time end_served = absl::InfiniteFuture())
      ABSL_LOCKS_EXCLUDED(mu_);

  // Of OpenFor(): becomes readable once the connection has ended; for poll(2),
  // not to be read from. Else -1, which poll(2) takes for never.
  int over_fd() const { return over_.get(); }

  FrontDoorCounts counts() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // A connection that has not yet said what it wants.
  struct Waiting {
    UniqueFd fd;
    Caller caller;
    bool has_spoken;
    absl::Time deadline;
  };
  // A connection that was handed over.
  struct Served {
    UniqueFd duplicate;
    std::shared_ptr<ServerConnection> connection;
    // Since when it had no call when we looked, and how many before.
    absl::Time idle_since;
    std::uint64_t calls_before = 0;
    // Whether its next byte wakes us, and since when none has.
    bool is_listened_to = false;
    absl::Time silent_since;
    bool is_shut = false;
  };
  // What one uid has.
  struct OfUid {
    int connections = 0;
    std::shared_ptr<MemoryBudget> request_memory;
  };

  FrontDoor(int listening, FrontDoorOptions options, ConnectionTable& table,
            RefusalLog& refusals, std::vector<Wire*> wires);
  // All but the thread.
  absl::Status SetUp();
  void Start();

  // What follows runs on the door's thread.
  void Run();
  void AcceptAll();
  // False when there is nothing to accept now.
  bool AcceptOne();
  void MakeRoom();
  void PauseAccepting(int error);
  void ResumeAccepting();
  void Admit(UniqueFd fd);
  // Says no in the log; the connection closes with its owner.
  void Refuse(Refusal reason, const Caller& caller, std::string_view why);
  void HandleEvents(std::uint64_t id, std::uint32_t events);
  void LookAtFirstBytes(std::uint64_t id, Waiting& connection, bool peer_left);
  void Serve(std::uint64_t id, Waiting& waiting, Wire& wire);
  void SetDeadline(std::uint64_t id, Waiting& waiting, absl::Time deadline);
  void HandleServed(std::uint64_t id, std::uint32_t events);
  void ForgetWaiting(std::uint64_t id);
  void ForgetServed(std::uint64_t id);
  void Leave(uid_t uid);
  void CloseOverdue();
  void LookAtServed();
  void EndIfIdle(std::uint64_t id, Served& served, absl::Time now);
  void Shut(Served& served, Refusal reason, std::string_view why);
  void CloseWaiting();
  void EndServed();
  int NextWakeUpMillis() const;
  bool Watch(int fd, std::uint64_t id, std::uint32_t events);
  // For others than before.
  bool Rewatch(int fd, std::uint64_t id, std::uint32_t events);
  void UpdateCounts() ABSL_LOCKS_EXCLUDED(mu_);

  // -1: nothing is accepted.
  const int listening_;
  const FrontDoorOptions options_;
  const std::string who_may_connect_;
  // How often LookAtServed() does.
  const absl::Duration period_;
  // For how long the idle must be silent before they are ended.
  const absl::Duration silence_;
  ConnectionTable& table_;
  RefusalLog& refusals_;
  const std::vector<Wire*> wires_;

  UniqueFd epoll_;
  UniqueFd wake_up_;
  UniqueFd over_;
  // Given up to accept and close one connection when there are no others.
  UniqueFd reserve_;

  // Of the door's thread alone. By connection id.
  std::map<std::uint64_t, Waiting> waiting_;
  // Of those that wait: deadline and id.
  std::set<std::pair<absl::Time, std::uint64_t>> due_;
  std::map<std::uint64_t, Served> served_;
  std::map<uid_t, OfUid> of_uid_;
  std::uint64_t accepted_ = 0;
  std::uint64_t unused_ = 0;
  std::uint64_t all_served_ = 0;
  std::uint64_t last_id_ = 0;
  // While accept(2) fails, or no descriptor is left even to refuse with.
  absl::Time paused_until_ = absl::InfinitePast();
  // Said at most once a minute.
  absl::Time next_pause_line_ = absl::InfinitePast();
  absl::Time next_look_ = absl::InfinitePast();
  absl::Time end_served_ = absl::InfiniteFuture();

  enum class Phase { kAccepting, kStopping, kStopped, kEnding };
  mutable Mutex mu_;
  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kAccepting;
  // What StopAccepting() was told.
  absl::Time asked_end_served_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  FrontDoorCounts counts_ ABSL_GUARDED_BY(mu_);

  // Last: it uses all of the above.
  std::thread thread_;
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_FRONT_DOOR_H_

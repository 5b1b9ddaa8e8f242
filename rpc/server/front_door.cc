#include "rpc/server/front_door.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/time/clock.h"
#include "rpc/base/status_macros.h"
#include "rpc/server/first_bytes.h"
#include "rpc/socket/peer_credentials.h"
#include "spdlog/spdlog.h"

namespace tandem::rpc {
namespace {

// What epoll reports beside connection ids, which count from 1.
constexpr std::uint64_t kWakeUp = 0;
constexpr std::uint64_t kListening = ~std::uint64_t{0};

// So that one rush of clients does not keep others waiting.
constexpr int kAcceptsInARow = 64;
constexpr absl::Duration kPause = absl::Milliseconds(100);
constexpr absl::Duration kBetweenPauseLines = absl::Minutes(1);
constexpr absl::Duration kLongestPeriod = absl::Seconds(1);
// Shorter than the time between pings, whose answers are no calls.
constexpr absl::Duration kLongestSilence = absl::Seconds(5);
// Of a connection that was handed over. Once: it is gRPC that closes it.
constexpr std::uint32_t kItsEnd = EPOLLRDHUP | EPOLLONESHOT;
// Not for clients.
constexpr rlim_t kKeptDescriptors = 32;

// Caller::wire of who has not said what it speaks.
constexpr std::string_view kNoWire = "none";

// How often to look whether `timeout` is over.
absl::Duration PeriodFor(absl::Duration timeout) {
  return std::clamp(timeout / 4, absl::Milliseconds(1), kLongestPeriod);
}

// The number is as good as a count: the kernel gives the lowest that is free.
bool IsAmongTheLast(int fd) {
  rlimit limit;
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
         static_cast<rlim_t>(fd) + kKeptDescriptors >= limit.rlim_cur;
}

Caller CallerOf(const PeerCredentials& peer) {
  return {.uid = peer.uid,
          .gid = peer.gid,
          .groups = peer.groups,
          .pid = peer.pid,
          .wire = kNoWire};
}

UniqueFd OpenReserve() {
  return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

}  // namespace

absl::StatusOr<std::unique_ptr<FrontDoor>> FrontDoor::Open(
    int listening, FrontDoorOptions options, ConnectionTable& table,
    RefusalLog& refusals, std::vector<Wire*> wires) {
  auto door = std::unique_ptr<FrontDoor>(new FrontDoor(
      listening, std::move(options), table, refusals, std::move(wires)));
  TANDEM_RETURN_IF_ERROR(door->SetUp());
  door->Start();
  return door;
}

absl::StatusOr<std::unique_ptr<FrontDoor>> FrontDoor::OpenFor(
    UniqueFd connection, FrontDoorOptions options, ConnectionTable& table,
    RefusalLog& refusals, std::vector<Wire*> wires) {
  auto door = std::unique_ptr<FrontDoor>(
      new FrontDoor(-1, std::move(options), table, refusals, std::move(wires)));
  TANDEM_RETURN_IF_ERROR(door->SetUp());
  door->Admit(std::move(connection));
  if (door->waiting_.empty()) {
    return absl::PermissionDeniedError(
        "the connection that was handed in is refused; the log says why");
  }
  door->Start();
  return door;
}

FrontDoor::FrontDoor(int listening, FrontDoorOptions options,
                     ConnectionTable& table, RefusalLog& refusals,
                     std::vector<Wire*> wires)
    : listening_(listening),
      options_(std::move(options)),
      who_may_connect_("the server lets in " + options_.access.WhoMayConnect()),
      period_(std::min({PeriodFor(options_.idle_timeout),
                        PeriodFor(options_.write_timeout),
                        PeriodFor(options_.read_timeout)})),
      silence_(std::min(options_.idle_timeout, kLongestSilence)),
      table_(table),
      refusals_(refusals),
      wires_(std::move(wires)) {}

absl::Status FrontDoor::SetUp() {
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  wake_up_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  reserve_ = OpenReserve();
  if (listening_ < 0)
    over_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll_.is_valid() || !wake_up_.is_valid() || !reserve_.is_valid() ||
      !Watch(wake_up_.get(), kWakeUp, EPOLLIN) ||
      (listening_ >= 0 ? !Watch(listening_, kListening, EPOLLIN)
                       : !over_.is_valid())) {
    return absl::ErrnoToStatus(errno, "prepare to accept connections");
  }
  return absl::OkStatus();
}

void FrontDoor::Start() {
  thread_ = std::thread([this] { Run(); });
}

FrontDoor::~FrontDoor() {
  if (!thread_.joinable()) return;
  StopAccepting();
  {
    MutexLock lock(mu_);
    phase_ = Phase::kEnding;
  }
  ::eventfd_write(wake_up_.get(), 1);
  thread_.join();
  // Before their duplicates are closed.
  for (auto& [id, served] : served_) served.connection->MarkEnded();
}

void FrontDoor::StopAccepting(absl::Time end_served) {
  MutexLock lock(mu_);
  if (phase_ == Phase::kAccepting) {
    phase_ = Phase::kStopping;
    asked_end_served_ = end_served;
    ::eventfd_write(wake_up_.get(), 1);
  }
  mu_.Await([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return phase_ != Phase::kStopping;
  });
}

FrontDoorCounts FrontDoor::counts() const {
  MutexLock lock(mu_);
  return counts_;
}

void FrontDoor::Run() {
  epoll_event events[64];
  while (true) {
    const int count = ::epoll_wait(epoll_.get(), events, std::size(events),
                                   NextWakeUpMillis());
    for (int i = 0; i < count; ++i) {
      HandleEvents(events[i].data.u64, events[i].events);
    }
    CloseOverdue();
    LookAtServed();
    EndServed();
    ResumeAccepting();
    UpdateCounts();
    if (over_.is_valid() && waiting_.empty() && served_.empty()) {
      ::eventfd_write(over_.get(), 1);
    }

    MutexLock lock(mu_);
    if (phase_ == Phase::kEnding) return;
    if (phase_ == Phase::kStopping) {
      CloseWaiting();
      end_served_ = asked_end_served_;
      phase_ = Phase::kStopped;
      mu_.NotifyAll();
    }
  }
}

void FrontDoor::HandleEvents(std::uint64_t id, std::uint32_t events) {
  if (id == kListening) {
    // Shut down by who has it too: accept(2) would say EAGAIN, and epoll go on.
    if ((events & EPOLLHUP) != 0) return PauseAccepting(EINVAL);
    return AcceptAll();
  }
  if (id == kWakeUp) {
    eventfd_t ignored;
    ::eventfd_read(wake_up_.get(), &ignored);
    return;
  }
  const auto it = waiting_.find(id);
  if (it == waiting_.end()) return HandleServed(id, events);
  LookAtFirstBytes(id, it->second,
                   (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
}

void FrontDoor::AcceptAll() {
  for (int i = 0; i < kAcceptsInARow; ++i) {
    if (!AcceptOne()) return;
  }
}

bool FrontDoor::AcceptOne() {
  UniqueFd fd(
      ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (fd.is_valid()) {
    Admit(std::move(fd));
    return true;
  }
  switch (errno) {
    case EAGAIN:
      return false;
    case EINTR:
    case ECONNABORTED:
      return true;
    case EMFILE:
    case ENFILE:
      MakeRoom();
      return false;
    default:
      PauseAccepting(errno);
      return false;
  }
}

// Left in the queue, the connection would wake us again and again.
void FrontDoor::MakeRoom() {
  if (!reserve_.is_valid()) return PauseAccepting(EMFILE);
  reserve_.Reset();
  UniqueFd fd(
      ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (fd.is_valid()) {
    ++accepted_;
    const absl::StatusOr<PeerCredentials> peer = PeerCredentialsOf(fd.get());
    Refuse(Refusal::kOutOfDescriptors,
           peer.ok() ? CallerOf(*peer) : Caller{.wire = kNoWire},
           "the process has no descriptors left (ulimit -n)");
    fd.Reset();
  }
  reserve_ = OpenReserve();
}

void FrontDoor::PauseAccepting(int error) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listening_, nullptr);
  const absl::Time now = absl::Now();
  paused_until_ = now + kPause;
  if (now < next_pause_line_) return;
  next_pause_line_ = now + kBetweenPauseLines;
  const bool is_descriptors = error == EMFILE || error == ENFILE;
  spdlog::error(
      "{}: no connection can be accepted: {} ({}); it is tried again ten "
      "times a second; {}",
      refusals_.address(), std::strerror(error), error,
      is_descriptors
          ? "let the process have more descriptors (ulimit -n)"
          : "if this is said again a minute later, start the program anew");
}

void FrontDoor::ResumeAccepting() {
  if (paused_until_ == absl::InfinitePast() || absl::Now() < paused_until_) {
    return;
  }
  if (!reserve_.is_valid()) reserve_ = OpenReserve();
  const bool watching = Watch(listening_, kListening, EPOLLIN);
  paused_until_ = watching ? absl::InfinitePast() : absl::Now() + kPause;
}

void FrontDoor::Admit(UniqueFd fd) {
  ++accepted_;
  const absl::StatusOr<PeerCredentials> peer = PeerCredentialsOf(fd.get());
  if (!peer.ok()) {
    return Refuse(Refusal::kUnknownCaller, {}, peer.status().ToString());
  }
  Caller caller = CallerOf(*peer);
  if (!options_.access.MayConnect(caller)) {
    return Refuse(Refusal::kNotAllowedToConnect, caller, who_may_connect_);
  }
  if (IsAmongTheLast(fd.get())) {
    return Refuse(Refusal::kOutOfDescriptors, caller,
                  "the process has few descriptors left (ulimit -n)");
  }
  if (waiting_.size() + served_.size() >=
      static_cast<std::size_t>(options_.max_connections)) {
    return Refuse(Refusal::kTooManyConnections, caller,
                  fmt::format("there are {} (max_connections)",
                              options_.max_connections));
  }
  OfUid& of_uid = of_uid_[peer->uid];
  if (of_uid.connections >= options_.max_connections_per_uid) {
    return Refuse(Refusal::kTooManyConnectionsOfUid, caller,
                  fmt::format("the uid has {} (max_connections_per_uid)",
                              options_.max_connections_per_uid));
  }
  // Edge-triggered: bytes that we leave unread do not wake us again.
  if (!Watch(fd.get(), last_id_ + 1, EPOLLIN | EPOLLRDHUP | EPOLLET)) {
    if (of_uid.connections == 0) of_uid_.erase(peer->uid);
    return Refuse(Refusal::kOutOfDescriptors, caller,
                  "the kernel watches no more (fs.epoll.max_user_watches)");
  }
  if (of_uid.connections++ == 0) {
    of_uid.request_memory = std::make_shared<MemoryBudget>(
        options_.max_request_memory_per_uid, options_.request_memory);
  }
  caller.connection_id = ++last_id_;
  caller.since = absl::Now();
  const absl::Time deadline = caller.since + options_.idle_timeout;
  waiting_.emplace(last_id_, Waiting{.fd = std::move(fd),
                                     .caller = std::move(caller),
                                     .has_spoken = false,
                                     .deadline = deadline});
  due_.emplace(deadline, last_id_);
}

void FrontDoor::Refuse(Refusal reason, const Caller& caller,
                       std::string_view why) {
  refusals_.Add(reason, caller, fmt::format("connection closed: {}", why));
}

void FrontDoor::LookAtFirstBytes(std::uint64_t id, Waiting& connection,
                                 bool peer_left) {
  char bytes[kMaxFirstBytes];
  const ssize_t got =
      ::recv(connection.fd.get(), bytes, sizeof(bytes), MSG_PEEK);
  if (got < 0 && (errno == EAGAIN || errno == EINTR) && !peer_left) return;
  const std::string_view seen(bytes, got > 0 ? got : 0);
  const FirstBytes judged = JudgeFirstBytes(seen, wires_);
  switch (judged.verdict) {
    case Verdict::kMine:
      return Serve(id, connection, *judged.wire);
    case Verdict::kNeedMore:
      if (got > 0 && !peer_left) {
        if (std::exchange(connection.has_spoken, true)) return;
        return SetDeadline(id, connection,
                           absl::Now() + options_.preface_timeout);
      }
      if (seen.empty()) {
        ++unused_;
      } else {
        Refuse(Refusal::kLeftEarly, connection.caller,
               "it left before it said what it wants");
      }
      break;
    case Verdict::kNotMine:
      Refuse(Refusal::kUnknownFirstBytes, connection.caller,
             "its first bytes are of none of the server's wires");
      break;
  }
  ForgetWaiting(id);
}

void FrontDoor::SetDeadline(std::uint64_t id, Waiting& waiting,
                            absl::Time deadline) {
  due_.erase({waiting.deadline, id});
  waiting.deadline = deadline;
  due_.emplace(deadline, id);
}

void FrontDoor::Serve(std::uint64_t id, Waiting& waiting, Wire& wire) {
  UniqueFd fd = std::move(waiting.fd);
  // Off before the duplicate is made: what epoll watches is the open file,
  // which the duplicate shares.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr);
  UniqueFd duplicate(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!duplicate.is_valid() || !Watch(duplicate.get(), id, kItsEnd)) {
    Refuse(Refusal::kOutOfDescriptors, waiting.caller,
           "the process has no descriptors left (ulimit -n)");
    return ForgetWaiting(id);
  }
  const bool may_call_what_has_no_rule =
      options_.access.MayCallWhatHasNoRule(waiting.caller);
  const auto& memory = of_uid_.find(waiting.caller.uid)->second.request_memory;
  waiting.caller.wire = wire.name();
  const auto connection = std::make_shared<ServerConnection>(
      std::move(waiting.caller), may_call_what_has_no_rule, memory);
  connection->SetSocket(duplicate.get());
  due_.erase({waiting.deadline, id});
  waiting_.erase(id);
  served_.emplace(id, Served{.duplicate = std::move(duplicate),
                             .connection = connection,
                             .idle_since = connection->caller().since});
  ++all_served_;
  UpdateCounts();
  table_.Set(fd.get(), connection);
  wire.Serve(std::move(fd), connection);
}

void FrontDoor::HandleServed(std::uint64_t id, std::uint32_t events) {
  const auto it = served_.find(id);
  if (it == served_.end()) return;
  Served& served = it->second;
  const bool has_ended = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  if (has_ended || !Rewatch(served.duplicate.get(), id, kItsEnd)) {
    return ForgetServed(id);
  }
  served.is_listened_to = false;
}

void FrontDoor::ForgetWaiting(std::uint64_t id) {
  const auto it = waiting_.find(id);
  Leave(it->second.caller.uid);
  due_.erase({it->second.deadline, id});
  waiting_.erase(it);
}

void FrontDoor::ForgetServed(std::uint64_t id) {
  const auto it = served_.find(id);
  it->second.connection->MarkEnded();
  Leave(it->second.connection->caller().uid);
  // Not left to gRPC, which keeps one for ever whose client reads nothing and
  // has closed only its own direction.
  ::shutdown(it->second.duplicate.get(), SHUT_RDWR);
  // With the duplicate: kept, it would keep the connection open after gRPC has
  // closed its own.
  served_.erase(it);
}

void FrontDoor::Leave(uid_t uid) {
  const auto it = of_uid_.find(uid);
  if (--it->second.connections == 0) of_uid_.erase(it);
}

void FrontDoor::CloseOverdue() {
  const absl::Time now = absl::Now();
  while (!due_.empty() && due_.begin()->first <= now) {
    const std::uint64_t id = due_.begin()->second;
    const Waiting& waiting = waiting_.find(id)->second;
    if (waiting.has_spoken) {
      Refuse(Refusal::kLateFirstBytes, waiting.caller,
             "it did not say in time what it wants (preface_timeout)");
    } else {
      Refuse(Refusal::kIdle, waiting.caller,
             "it said nothing for longer than idle_timeout");
    }
    ForgetWaiting(id);
  }
}

void FrontDoor::LookAtServed() {
  const absl::Time now = absl::Now();
  if (now < next_look_) return;
  next_look_ = now + period_;
  refusals_.Flush();
  for (auto& [id, served] : served_) {
    if (served.is_shut) continue;
    served.connection->EndSilent(options_.read_timeout);
    if (served.connection->EndStalled(options_.write_timeout)) {
      EndIfIdle(id, served, now);
    } else {
      Shut(served, Refusal::kSlowReader,
           "the client reads nothing (write_timeout)");
    }
  }
}

void FrontDoor::EndIfIdle(std::uint64_t id, Served& served, absl::Time now) {
  const ServerConnection& connection = *served.connection;
  const std::uint64_t calls = connection.calls();
  if (connection.calls_in_flight() > 0 || calls != served.calls_before) {
    served.idle_since = now;
    served.calls_before = calls;
    return;
  }
  const absl::Duration idle = now - served.idle_since;
  if (idle < options_.idle_timeout - silence_) return;
  if (!served.is_listened_to) {
    served.silent_since = now;
    served.is_listened_to =
        Rewatch(served.duplicate.get(), id, EPOLLIN | kItsEnd);
  } else if (idle >= options_.idle_timeout &&
             now - served.silent_since >= silence_) {
    Shut(served, Refusal::kIdle, "it had no call for longer than idle_timeout");
  }
}

// Its end is an event like that of others.
void FrontDoor::Shut(Served& served, Refusal reason, std::string_view why) {
  Refuse(reason, served.connection->caller(), why);
  served.is_shut = true;
  ::shutdown(served.duplicate.get(), SHUT_RDWR);
}

void FrontDoor::CloseWaiting() {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listening_, nullptr);
  paused_until_ = absl::InfinitePast();
  while (!waiting_.empty()) ForgetWaiting(waiting_.begin()->first);
}

void FrontDoor::EndServed() {
  if (absl::Now() < end_served_) return;
  end_served_ = absl::InfiniteFuture();
  for (auto& [id, served] : served_) {
    ::shutdown(served.duplicate.get(), SHUT_RDWR);
  }
}

int FrontDoor::NextWakeUpMillis() const {
  absl::Time next = end_served_;
  if (!due_.empty()) next = std::min(next, due_.begin()->first);
  if (paused_until_ != absl::InfinitePast()) {
    next = std::min(next, paused_until_);
  }
  if (!served_.empty() || refusals_.has_unlogged()) {
    next = std::min(next, next_look_);
  }
  if (next == absl::InfiniteFuture()) return -1;
  const absl::Duration left =
      std::clamp(next - absl::Now(), absl::ZeroDuration(), absl::Minutes(1));
  return static_cast<int>(
      absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))));
}

bool FrontDoor::Watch(int fd, std::uint64_t id, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

bool FrontDoor::Rewatch(int fd, std::uint64_t id, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0;
}

void FrontDoor::UpdateCounts() {
  int most = 0;
  for (const auto& [uid, of_uid] : of_uid_) {
    most = std::max(most, of_uid.connections);
  }
  MutexLock lock(mu_);
  counts_ = {.accepted = accepted_,
             .unused = unused_,
             .served = all_served_,
             .open = served_.size(),
             .waiting = waiting_.size(),
             .most_of_one_uid = most};
}

}  // namespace tandem::rpc

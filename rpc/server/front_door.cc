#include "rpc/server/front_door.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
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
#include "spdlog/spdlog.h"

namespace tandem::rpc {
namespace {

// What epoll reports beside connection ids, which count from 1.
constexpr std::uint64_t kWakeUp = 0;
constexpr std::uint64_t kListening = ~std::uint64_t{0};

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
// So that one rush of clients does not keep others waiting.
constexpr int kAcceptsInARow = 64;
constexpr absl::Duration kPause = absl::Milliseconds(100);
constexpr absl::Duration kBetweenLogLines = absl::Seconds(1);

UniqueFd OpenReserve() {
  return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

}  // namespace

absl::StatusOr<std::unique_ptr<FrontDoor>> FrontDoor::Open(
    int listening, FrontDoorOptions options, ConnectionTable& table,
    HandOver hand_over) {
  auto door = std::unique_ptr<FrontDoor>(new FrontDoor(
      listening, std::move(options), table, std::move(hand_over)));
  TANDEM_RETURN_IF_ERROR(door->SetUp());
  door->Start();
  return door;
}

absl::StatusOr<std::unique_ptr<FrontDoor>> FrontDoor::OpenFor(
    UniqueFd connection, FrontDoorOptions options, ConnectionTable& table,
    HandOver hand_over) {
  auto door = std::unique_ptr<FrontDoor>(
      new FrontDoor(-1, std::move(options), table, std::move(hand_over)));
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
                     ConnectionTable& table, HandOver hand_over)
    : listening_(listening),
      options_(std::move(options)),
      table_(table),
      hand_over_(std::move(hand_over)) {}

absl::Status FrontDoor::SetUp() {
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  wake_up_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  reserve_ = OpenReserve();
  if (!epoll_.is_valid() || !wake_up_.is_valid() || !reserve_.is_valid() ||
      !Watch(wake_up_.get(), kWakeUp, EPOLLIN) ||
      (listening_ >= 0 && !Watch(listening_, kListening, EPOLLIN))) {
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
}

void FrontDoor::StopAccepting() {
  MutexLock lock(mu_);
  if (phase_ == Phase::kAccepting) {
    phase_ = Phase::kStopping;
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
    ResumeAccepting();

    MutexLock lock(mu_);
    if (phase_ == Phase::kEnding) return;
    if (phase_ == Phase::kStopping) {
      CloseWaiting();
      phase_ = Phase::kStopped;
      mu_.NotifyAll();
    }
  }
}

void FrontDoor::HandleEvents(std::uint64_t id, std::uint32_t events) {
  if (id == kListening) return AcceptAll();
  if (id == kWakeUp) {
    eventfd_t ignored;
    ::eventfd_read(wake_up_.get(), &ignored);
    return;
  }
  const auto it = waiting_.find(id);
  if (it == waiting_.end()) return ForgetServed(id);
  LookAtPreface(id, it->second,
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
      PauseAccepting();
      return false;
  }
}

// Left in the queue, the connection would wake us again and again.
void FrontDoor::MakeRoom() {
  if (!reserve_.is_valid()) return PauseAccepting();
  reserve_.Reset();
  UniqueFd fd(
      ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (fd.is_valid()) {
    Count(&FrontDoorCounts::accepted);
    Refuse(&FrontDoorCounts::over_limit, {}, "we are out of descriptors");
    fd.Reset();
  }
  reserve_ = OpenReserve();
}

void FrontDoor::PauseAccepting() {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listening_, nullptr);
  paused_until_ = absl::Now() + kPause;
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
  Count(&FrontDoorCounts::accepted);
  const absl::StatusOr<PeerCredentials> peer = PeerCredentialsOf(fd.get());
  if (!peer.ok()) {
    return Refuse(&FrontDoorCounts::not_allowed, {}, peer.status().ToString());
  }
  const absl::Time now = absl::Now();
  const Caller caller{.uid = peer->uid,
                      .gid = peer->gid,
                      .pid = peer->pid,
                      .connection_id = last_id_ + 1,
                      .wire = Wire::kGrpc,
                      .since = now};
  if (!options_.access.MayConnect(peer->uid, peer->groups)) {
    return Refuse(&FrontDoorCounts::not_allowed, caller,
                  "the access policy does not allow it");
  }
  if (waiting_.size() + served_.size() >=
      static_cast<std::size_t>(options_.max_connections)) {
    return Refuse(&FrontDoorCounts::over_limit, caller, "too many connections");
  }
  int& of_uid = connections_per_uid_[peer->uid];
  if (of_uid >= options_.max_connections_per_uid) {
    return Refuse(&FrontDoorCounts::over_limit, caller,
                  "too many connections of this uid");
  }
  // Edge-triggered: bytes that we leave unread do not wake us again.
  if (!Watch(fd.get(), last_id_ + 1, EPOLLIN | EPOLLRDHUP | EPOLLET)) {
    return Refuse(&FrontDoorCounts::over_limit, caller, "epoll is full");
  }
  ++of_uid;
  waiting_.emplace(++last_id_,
                   Waiting{.fd = std::move(fd),
                           .caller = caller,
                           .deadline = now + options_.preface_timeout});
}

void FrontDoor::Refuse(std::uint64_t FrontDoorCounts::*count,
                       const Caller& caller, std::string_view why) {
  Count(count);
  const absl::Time now = absl::Now();
  if (now < next_log_) {
    ++unlogged_;
    return;
  }
  next_log_ = now + kBetweenLogLines;
  spdlog::warn(
      "connection of uid {} (pid {}) closed: {}{}",
      static_cast<std::int64_t>(static_cast<int>(caller.uid)), caller.pid, why,
      unlogged_ == 0 ? "" : fmt::format(" (and {} others)", unlogged_));
  unlogged_ = 0;
}

void FrontDoor::LookAtPreface(std::uint64_t id, Waiting& connection,
                              bool peer_left) {
  char bytes[kPreface.size()];
  const ssize_t got =
      ::recv(connection.fd.get(), bytes, sizeof(bytes), MSG_PEEK);
  if (got < 0 && (errno == EAGAIN || errno == EINTR) && !peer_left) return;
  const std::string_view seen(bytes, got > 0 ? got : 0);
  if (seen == kPreface) return Serve(id, connection);
  if (got > 0 && kPreface.starts_with(seen) && !peer_left) return;
  Refuse(&FrontDoorCounts::not_grpc, connection.caller,
         seen.empty() ? "it left without a word"
                      : "its first bytes are not gRPC's");
  ForgetWaiting(id);
}

void FrontDoor::Serve(std::uint64_t id, Waiting& connection) {
  UniqueFd fd = std::move(connection.fd);
  const Caller caller = connection.caller;
  // Off before the duplicate is made: what epoll watches is the open file,
  // which the duplicate shares.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr);
  UniqueFd duplicate(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!duplicate.is_valid() ||
      !Watch(duplicate.get(), id, EPOLLRDHUP | EPOLLONESHOT)) {
    Refuse(&FrontDoorCounts::over_limit, caller, "we are out of descriptors");
    return ForgetWaiting(id);
  }
  waiting_.erase(id);
  served_.emplace(id,
                  Served{.duplicate = std::move(duplicate), .uid = caller.uid});
  {
    MutexLock lock(mu_);
    ++counts_.served;
    ++counts_.open;
  }
  table_.Set(fd.get(), caller);
  hand_over_(std::move(fd));
}

void FrontDoor::ForgetWaiting(std::uint64_t id) {
  const auto it = waiting_.find(id);
  Leave(it->second.caller.uid);
  waiting_.erase(it);
}

void FrontDoor::ForgetServed(std::uint64_t id) {
  const auto it = served_.find(id);
  if (it == served_.end()) return;
  Leave(it->second.uid);
  // With the duplicate: kept, it would keep the connection open after gRPC has
  // closed its own.
  served_.erase(it);
  MutexLock lock(mu_);
  --counts_.open;
}

void FrontDoor::Leave(uid_t uid) {
  const auto it = connections_per_uid_.find(uid);
  if (--it->second == 0) connections_per_uid_.erase(it);
}

void FrontDoor::CloseOverdue() {
  const absl::Time now = absl::Now();
  while (!waiting_.empty() && waiting_.begin()->second.deadline <= now) {
    Refuse(&FrontDoorCounts::timed_out, waiting_.begin()->second.caller,
           "it did not say in time what it wants");
    ForgetWaiting(waiting_.begin()->first);
  }
}

void FrontDoor::CloseWaiting() {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listening_, nullptr);
  paused_until_ = absl::InfinitePast();
  while (!waiting_.empty()) ForgetWaiting(waiting_.begin()->first);
}

int FrontDoor::NextWakeUpMillis() const {
  absl::Time next = absl::InfiniteFuture();
  if (!waiting_.empty()) next = waiting_.begin()->second.deadline;
  if (paused_until_ != absl::InfinitePast()) {
    next = std::min(next, paused_until_);
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

void FrontDoor::Count(std::uint64_t FrontDoorCounts::*count) {
  MutexLock lock(mu_);
  ++(counts_.*count);
}

}  // namespace tandem::rpc

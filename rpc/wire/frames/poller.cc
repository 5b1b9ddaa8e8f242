#include "rpc/wire/frames/poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "absl/time/clock.h"
#include "rpc/base/status_macros.h"

namespace tandem::rpc {

absl::StatusOr<std::unique_ptr<PollThread>> PollThread::Start(
    absl::Duration spin) {
  auto thread = std::unique_ptr<PollThread>(new PollThread(spin));
  thread->epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  thread->wake_up_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  if (!thread->epoll_.is_valid() || !thread->wake_up_.is_valid() ||
      ::epoll_ctl(thread->epoll_.get(), EPOLL_CTL_ADD, thread->wake_up_.get(),
                  &event) != 0) {
    return absl::ErrnoToStatus(errno, "prepare to wait for connections");
  }
  thread->thread_ = std::thread([raw = thread.get()] { raw->Loop(); });
  return thread;
}

PollThread::~PollThread() { Stop(); }

absl::Status PollThread::Add(std::shared_ptr<PollSource> source, int fd,
                             std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = source.get();
  MutexLock lock(mu_);
  if (is_stopping_) return absl::UnavailableError("the server is stopping");
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return absl::ErrnoToStatus(
        errno, "watch a connection (fs.epoll.max_user_watches)");
  }
  PollSource* const key = source.get();
  sources_.emplace(key, std::move(source));
  return absl::OkStatus();
}

void PollThread::Change(PollSource& source, int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &source;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void PollThread::Run(std::function<void()> task) {
  {
    MutexLock lock(mu_);
    if (is_stopping_) return;
    tasks_.push_back(std::move(task));
    if (tasks_.size() > 1) return;
  }
  ::eventfd_write(wake_up_.get(), 1);
}

void PollThread::Remove(PollSource& source, int fd) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  WakeAt(source, absl::InfiniteFuture());
  MutexLock lock(mu_);
  const auto it = sources_.find(&source);
  if (it == sources_.end()) return;
  removed_.push_back(std::move(it->second));
  sources_.erase(it);
}

void PollThread::WakeAt(PollSource& source, absl::Time time) {
  if (time == source.wake_at_) return;
  if (source.wake_at_ != absl::InfiniteFuture()) {
    sleepers_.erase({source.wake_at_, &source});
  }
  source.wake_at_ = time;
  if (time != absl::InfiniteFuture()) sleepers_.emplace(time, &source);
}

void PollThread::Stop() {
  {
    MutexLock lock(mu_);
    is_stopping_ = true;
  }
  if (!thread_.joinable()) return;
  ::eventfd_write(wake_up_.get(), 1);
  thread_.join();
  std::unordered_map<PollSource*, std::shared_ptr<PollSource>> sources;
  std::vector<std::function<void()>> tasks;
  MutexLock lock(mu_);
  sources.swap(sources_);
  tasks.swap(tasks_);
}

void PollThread::Loop() {
  id_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  epoll_event events[64];
  do {
    const int count = Wait(events, std::size(events));
    for (int i = 0; i < count; ++i) {
      auto* const source = static_cast<PollSource*>(events[i].data.ptr);
      if (source != nullptr) {
        source->OnReady(events[i].events);
      } else {
        eventfd_t ignored;
        ::eventfd_read(wake_up_.get(), &ignored);
      }
    }
    WakeSleepers();
    const bool goes_on = RunTasks();
    removed_.clear();
    if (!goes_on) return;
  } while (true);
}

int PollThread::Wait(epoll_event* events, int most) {
  if (spin_ > absl::ZeroDuration()) {
    const absl::Time end = absl::Now() + spin_;
    do {
      const int count = ::epoll_wait(epoll_.get(), events, most, 0);
      if (count > 0) return count;
    } while (absl::Now() < end);
  }
  return ::epoll_wait(epoll_.get(), events, most, MillisToSleep());
}

int PollThread::MillisToSleep() const {
  if (sleepers_.empty()) return -1;
  const absl::Duration left =
      std::clamp(sleepers_.begin()->first - absl::Now(), absl::ZeroDuration(),
                 absl::Minutes(1));
  return static_cast<int>(
      absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))));
}

void PollThread::WakeSleepers() {
  if (sleepers_.empty()) return;
  const absl::Time now = absl::Now();
  while (!sleepers_.empty() && sleepers_.begin()->first <= now) {
    PollSource* const source = sleepers_.begin()->second;
    WakeAt(*source, absl::InfiniteFuture());
    source->OnTime();
  }
}

bool PollThread::RunTasks() {
  std::vector<std::function<void()>> tasks;
  bool goes_on;
  {
    MutexLock lock(mu_);
    tasks.swap(tasks_);
    goes_on = !is_stopping_;
  }
  for (const std::function<void()>& task : tasks) task();
  return goes_on;
}

absl::StatusOr<std::unique_ptr<Poller>> Poller::Start(int threads,
                                                      absl::Duration spin) {
  auto poller = std::unique_ptr<Poller>(new Poller());
  for (int i = 0; i < threads; ++i) {
    TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<PollThread> thread,
                            PollThread::Start(spin));
    poller->threads_.push_back(std::move(thread));
  }
  return poller;
}

void Poller::Stop() {
  for (const auto& thread : threads_) thread->Stop();
}

}  // namespace tandem::rpc

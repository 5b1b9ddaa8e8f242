#include "rpc/client/waiting_calls.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rpc/client/backoff.h"

namespace tandem::rpc {
namespace {

using google::protobuf::MessageLite;

// How long a server may take for its answer before deadlines are looked at.
constexpr absl::Duration kOneTry = absl::Milliseconds(100);

struct WaitingCall {
  ClientCall* call;
  std::unique_ptr<MessageLite> request;
  CallOptions options;
  absl::Duration timeout;
  absl::Time deadline;
  // 0 until it can be cancelled, or for ever.
  std::uint64_t cancellation_key = 0;
};

// Without locks held: `done` does what it likes.
void Finish(ClientCall* call, const absl::Status& status) {
  call->status = absl::Status(
      status.code(),
      absl::StrCat(call->method->path, ": ", std::string(status.message())));
  call->done(call);
}

absl::Status Cancelled() {
  return absl::CancelledError("cancelled while it waited for a server");
}

// No cancellation reaches the call any more.
void StopCancellation(WaitingCall& waiting) {
  if (waiting.cancellation_key != 0) {
    waiting.options.cancellation->Remove(waiting.cancellation_key);
  }
}

}  // namespace

class WaitingCalls::Queue : public std::enable_shared_from_this<Queue> {
 public:
  explicit Queue(Connect connect) : connect_(std::move(connect)) {}

  void Add(WaitingCall waiting) ABSL_LOCKS_EXCLUDED(mu_);
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  std::uint64_t NextId() ABSL_LOCKS_EXCLUDED(mu_);
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  // One try; how long to wait before the next.
  absl::Duration Try() ABSL_LOCKS_EXCLUDED(mu_);
  void Cancel(std::uint64_t id) ABSL_LOCKS_EXCLUDED(mu_);
  void EndOverdue(const absl::Status& reason) ABSL_LOCKS_EXCLUDED(mu_);
  void EndAll(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  void BeginAll(Connection& connection) ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<WaitingCall> TakeAll() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Time FirstDeadline() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Connect connect_;
  Backoff backoff_;  // Of the thread alone.

  Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  // In the order of their Add().
  std::map<std::uint64_t, WaitingCall> calls_ ABSL_GUARDED_BY(mu_);
  std::thread thread_ ABSL_GUARDED_BY(mu_);
};

void WaitingCalls::Queue::Add(WaitingCall waiting) {
  std::optional<Cancellation> cancellation = waiting.options.cancellation;
  const std::uint64_t id = NextId();
  // First, for once the call is in the queue it may end.
  if (cancellation.has_value()) {
    waiting.cancellation_key = cancellation->Add(
        [self = shared_from_this(), id] { self->Cancel(id); });
  }
  {
    MutexLock lock(mu_);
    // If not cancelled by now, Cancel() finds the call.
    if (!cancellation.has_value() || !cancellation->is_cancelled()) {
      calls_.emplace(id, std::move(waiting));
      if (!thread_.joinable()) {
        thread_ = std::thread([self = shared_from_this()] { self->Run(); });
      }
      mu_.NotifyAll();
      return;
    }
  }
  StopCancellation(waiting);
  Finish(waiting.call, Cancelled());
}

std::uint64_t WaitingCalls::Queue::NextId() {
  MutexLock lock(mu_);
  return ++last_id_;
}

void WaitingCalls::Queue::Cancel(std::uint64_t id) {
  ClientCall* call = nullptr;
  {
    MutexLock lock(mu_);
    const auto it = calls_.find(id);
    if (it == calls_.end()) return;
    call = it->second.call;
    calls_.erase(it);
  }
  Finish(call, Cancelled());
}

void WaitingCalls::Queue::Run() {
  while (true) {
    {
      MutexLock lock(mu_);
      mu_.Await([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
        return stopping_ || !calls_.empty();
      });
      if (stopping_) return;
    }
    const absl::Time next = absl::Now() + Try();
    MutexLock lock(mu_);
    // A call that came meanwhile may have an earlier deadline than all others.
    mu_.AwaitUntil(std::min(next, FirstDeadline()),
                   [this, next]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                     return stopping_ || calls_.empty() ||
                            FirstDeadline() < std::min(next, absl::Now());
                   });
  }
}

absl::Duration WaitingCalls::Queue::Try() {
  const Method* method = nullptr;
  absl::Time deadline;
  {
    MutexLock lock(mu_);
    if (calls_.empty()) return absl::ZeroDuration();
    method = calls_.begin()->second.call->method;
    deadline = std::min(FirstDeadline(), absl::Now() + kOneTry);
  }
  const auto connection = connect_(*method, deadline);
  if (connection.ok()) {
    backoff_.Reset();
    BeginAll(**connection);
    return absl::ZeroDuration();
  }
  if (!absl::IsUnavailable(connection.status())) {
    EndAll(connection.status());
    return absl::ZeroDuration();
  }
  EndOverdue(connection.status());
  return backoff_.Next();
}

void WaitingCalls::Queue::BeginAll(Connection& connection) {
  for (WaitingCall& waiting : TakeAll()) {
    StopCancellation(waiting);
    // Its caller waits elsewhere.
    waiting.call->blocking = nullptr;
    waiting.options.timeout =
        std::max(waiting.deadline - absl::Now(), absl::ZeroDuration());
    connection.transport().Start(waiting.call, *waiting.request,
                                 waiting.options);
  }
}

void WaitingCalls::Queue::EndAll(const absl::Status& status) {
  for (WaitingCall& waiting : TakeAll()) {
    StopCancellation(waiting);
    Finish(waiting.call, status);
  }
}

void WaitingCalls::Queue::EndOverdue(const absl::Status& reason) {
  std::vector<WaitingCall> overdue;
  {
    MutexLock lock(mu_);
    const absl::Time now = absl::Now();
    for (auto it = calls_.begin(); it != calls_.end();) {
      const auto current = it++;
      if (current->second.deadline > now) continue;
      overdue.push_back(std::move(current->second));
      calls_.erase(current);
    }
  }
  for (WaitingCall& waiting : overdue) {
    StopCancellation(waiting);
    Finish(waiting.call,
           absl::DeadlineExceededError(absl::StrCat(
               "no server within ", absl::FormatDuration(waiting.timeout), ": ",
               std::string(reason.message()))));
  }
}

std::vector<WaitingCall> WaitingCalls::Queue::TakeAll() {
  MutexLock lock(mu_);
  std::vector<WaitingCall> taken;
  for (auto& [id, waiting] : calls_) taken.push_back(std::move(waiting));
  calls_.clear();
  return taken;
}

absl::Time WaitingCalls::Queue::FirstDeadline() const {
  absl::Time first = absl::InfiniteFuture();
  for (const auto& [id, waiting] : calls_) {
    first = std::min(first, waiting.deadline);
  }
  return first;
}

void WaitingCalls::Queue::Stop() {
  std::thread thread;
  {
    MutexLock lock(mu_);
    stopping_ = true;
    thread = std::move(thread_);
    mu_.NotifyAll();
  }
  EndAll(absl::CancelledError("the channel was destroyed while it waited"));
  if (!thread.joinable()) return;
  // Within a `done` it cannot wait for itself; it ends on its own.
  if (thread.get_id() == std::this_thread::get_id()) return thread.detach();
  thread.join();
}

WaitingCalls::WaitingCalls(Connect connect)
    : queue_(std::make_shared<Queue>(std::move(connect))) {}

WaitingCalls::~WaitingCalls() { queue_->Stop(); }

void WaitingCalls::Add(ClientCall* call, const MessageLite& request,
                       const CallOptions& options) {
  WaitingCall waiting{.call = call,
                      .request = std::unique_ptr<MessageLite>(request.New()),
                      .options = options,
                      .timeout = options.timeout.value_or(kDefaultCallTimeout),
                      .deadline = {}};
  waiting.request->CheckTypeAndMergeFrom(request);
  waiting.deadline = absl::Now() + waiting.timeout;
  queue_->Add(std::move(waiting));
}

}  // namespace tandem::rpc

#include "node/subscriptions.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "node/block.h"
#include "rpc/base/status_macros.h"

namespace tandem::node {

using rpc::MutexLock;
using BlockPtr = std::shared_ptr<const v1::CommittedBlock>;

Subscriptions::Subscriptions(BlockStore& store, std::int64_t last,
                             std::int64_t initial)
    : store_(store),
      last_(std::max(last, initial - 1)),
      feeder_([this] { Feed(); }) {}

Subscriptions::~Subscriptions() { Stop(); }

void Subscriptions::Publish(BlockPtr block) {
  MutexLock lock(mu_);
  last_ = block->block().header().height();
  cached_ = std::move(block);
  mu_.NotifyAll();
}

void Subscriptions::Add(rpc::Call& call, std::int64_t from,
                        rpc::Writer<v1::CommittedBlock> out) {
  auto subscriber = std::make_shared<Subscriber>(from, std::move(out));
  bool is_stopping = false;
  {
    MutexLock lock(mu_);
    is_stopping = is_stopping_;
    if (from == 0) subscriber->next = last_ + 1;
    if (!is_stopping) subscribers_.push_back(subscriber);
    mu_.NotifyAll();
  }
  if (is_stopping) {
    subscriber->out.Finish(absl::UnavailableError("the node stops"));
    return;
  }
  call.OnCancel([this, weak = std::weak_ptr(subscriber)] {
    const auto left = weak.lock();
    if (left == nullptr) return;
    MutexLock lock(mu_);
    left->is_gone = true;
    mu_.NotifyAll();
  });
}

void Subscriptions::Stop() {
  {
    MutexLock lock(mu_);
    is_stopping_ = true;
    mu_.NotifyAll();
  }
  if (feeder_.joinable()) feeder_.join();
  std::list<std::shared_ptr<Subscriber>> ended;
  {
    MutexLock lock(mu_);
    ended.swap(subscribers_);
  }
  for (const auto& subscriber : ended) {
    subscriber->out.Finish(absl::UnavailableError("the node stops"));
  }
}

void Subscriptions::Feed() {
  while (true) {
    const auto due = AwaitDue();
    if (due.empty()) return;
    for (const auto& subscriber : due) {
      if (Send(subscriber)) continue;
      MutexLock lock(mu_);
      subscribers_.remove(subscriber);
    }
  }
}

bool Subscriptions::IsDue(const Subscriber& subscriber) const {
  return subscriber.is_gone ||
         (subscriber.has_room && subscriber.next <= last_);
}

std::vector<std::shared_ptr<Subscriptions::Subscriber>>
Subscriptions::AwaitDue() {
  std::vector<std::shared_ptr<Subscriber>> due;
  MutexLock lock(mu_);
  mu_.Await([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    for (const auto& subscriber : subscribers_) {
      if (IsDue(*subscriber)) due.push_back(subscriber);
    }
    return is_stopping_ || !due.empty();
  });
  if (is_stopping_) due.clear();
  return due;
}

bool Subscriptions::Send(const std::shared_ptr<Subscriber>& subscriber) {
  {
    MutexLock lock(mu_);
    if (subscriber->is_gone) return false;
  }
  absl::StatusOr<BlockPtr> block = Load(subscriber->next);
  if (!block.ok()) {
    subscriber->out.Finish(block.status());
    return false;
  }
  const absl::Status status = subscriber->out.Write(**block);
  if (status.ok()) {
    ++subscriber->next;
    return true;
  }
  if (!absl::IsResourceExhausted(status)) {
    subscriber->out.Finish(status);
    return false;
  }
  {
    MutexLock lock(mu_);
    subscriber->has_room = false;
  }
  subscriber->out.OnWritable([this, weak = std::weak_ptr(subscriber)] {
    const auto waiting = weak.lock();
    if (waiting == nullptr) return;
    MutexLock lock(mu_);
    waiting->has_room = true;
    mu_.NotifyAll();
  });
  return true;
}

absl::StatusOr<BlockPtr> Subscriptions::Load(std::int64_t height) {
  {
    MutexLock lock(mu_);
    if (cached_ != nullptr && cached_->block().header().height() == height) {
      return cached_;
    }
  }
  TANDEM_ASSIGN_OR_RETURN(v1::CommittedBlock block,
                          store_.LoadCommitted(height));
  return std::make_shared<const v1::CommittedBlock>(std::move(block));
}

}  // namespace tandem::node

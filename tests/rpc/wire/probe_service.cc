#include "tests/rpc/wire/probe_service.h"

#include <functional>
#include <memory>
#include <utility>

#include "absl/strings/cord.h"

namespace tests::wire {

using tandem::rpc::Call;
using tandem::rpc::MutexLock;
using tandem::rpc::Reader;
using tandem::rpc::Reply;
using tandem::rpc::Writer;

namespace {

absl::Status StatusOf(const Failure& failure) {
  absl::Status status(static_cast<absl::StatusCode>(failure.code()),
                      failure.message());
  for (const auto& [type, value] : failure.details()) {
    status.SetPayload(type, absl::Cord(value));
  }
  return status;
}

// Counts up, and waits for room where there is none, without a thread.
class Counter : public std::enable_shared_from_this<Counter> {
 public:
  Counter(std::int64_t end, Writer<Item> out)
      : end_(end), out_(std::move(out)) {}

  void Go() {
    for (; next_ < end_; ++next_) {
      Item item;
      item.set_number(next_);
      const absl::Status sent = out_.Write(item);
      if (absl::IsResourceExhausted(sent)) {
        return out_.OnWritable([self = shared_from_this()] { self->Go(); });
      }
      if (!sent.ok()) return;
    }
    out_.Finish(absl::OkStatus());
  }

 private:
  const std::int64_t end_;
  std::int64_t next_ = 0;
  Writer<Item> out_;
};

// Adds up what it reads, without a thread.
class Adder : public std::enable_shared_from_this<Adder> {
 public:
  Adder(Reader<Item> in, Reply<Item> reply)
      : in_(std::move(in)), reply_(std::move(reply)) {}

  void Go() {
    in_.Read(&item_, [self = shared_from_this()](bool has_message) {
      if (!has_message) return self->reply_.Send(self->sum_);
      self->sum_.set_number(self->sum_.number() + self->item_.number());
      self->Go();
    });
  }

 private:
  Reader<Item> in_;
  Reply<Item> reply_;
  Item item_;
  Item sum_;
};

}  // namespace

ProbeService::~ProbeService() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(mu_);
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

void ProbeService::Later(std::function<void()> work) {
  MutexLock lock(mu_);
  threads_.emplace_back(std::move(work));
}

tandem::rpc::Caller ProbeService::last_caller() const {
  MutexLock lock(mu_);
  return last_caller_;
}

absl::Time ProbeService::last_deadline() const {
  MutexLock lock(mu_);
  return last_deadline_;
}

tandem::rpc::Metadata ProbeService::last_metadata() const {
  MutexLock lock(mu_);
  return last_metadata_;
}

void ProbeService::Note(const Call& call) {
  MutexLock lock(mu_);
  last_caller_ = call.caller();
  last_deadline_ = call.deadline();
  last_metadata_ = call.metadata();
}

absl::StatusOr<Item> ProbeService::Echo(Call& call, const Item& request) {
  ++calls;
  Note(call);
  return request;
}

absl::StatusOr<Item> ProbeService::EchoInline(Call&, const Item& request) {
  return request;
}

void ProbeService::EchoLater(Call&, const Item& request, Reply<Item> reply) {
  // The request lives until the reply is sent.
  Later([&request, reply = std::make_shared<Reply<Item>>(std::move(reply))] {
    reply->Send(request);
  });
}

void ProbeService::EchoLaterInline(Call& call, const Item& request,
                                   Reply<Item> reply) {
  EchoLater(call, request, std::move(reply));
}

absl::StatusOr<Item> ProbeService::Fail(Call&, const Failure& request) {
  return StatusOf(request);
}

absl::StatusOr<Item> ProbeService::Hang(Call& call, const Item& request) {
  Event woken;
  call.OnCancel([&woken] { woken.Set(); });
  ++hung;
  began.Set();
  if (woken.Wait() && call.is_cancelled()) cancelled.Set();
  return request;
}

void ProbeService::HangLater(Call& call, const Item&, Reply<Item> reply) {
  auto kept = std::make_shared<Reply<Item>>(std::move(reply));
  call.OnCancel([this, kept] {
    cancelled.Set();
    kept->Send(absl::CancelledError("noticed"));
  });
  began.Set();
}

void ProbeService::Drop(Call&, const Item&, Reply<Item>) {}

absl::StatusOr<Item> ProbeService::Grow(Call&, const Item& request) {
  Item item;
  item.mutable_data()->assign(request.number(), 'x');
  return item;
}

void ProbeService::Count(Call& call, const Item& request, Writer<Item> out) {
  Note(call);
  std::make_shared<Counter>(request.number(), std::move(out))->Go();
}

void ProbeService::Flood(Call&, const Item& request, Writer<Item> out) {
  Item count;
  absl::Status sent;
  while ((sent = out.Write(request)).ok()) count.set_number(count.number() + 1);
  if (!absl::IsResourceExhausted(sent)) return out.Finish(sent);
  auto kept = std::make_shared<Writer<Item>>(std::move(out));
  kept->OnWritable([kept, count] {
    const absl::Status status = kept->Write(count);
    kept->Finish(status);
  });
  flood = count.number();
  flooded.Set();
}

void ProbeService::Linger(Call& call, const Item& request, Writer<Item> out) {
  auto kept = std::make_shared<Writer<Item>>(std::move(out));
  call.OnCancel([this, kept] {
    if (absl::IsCancelled(kept->Write(Item()))) cancelled.Set();
    kept->Finish(absl::CancelledError("noticed"));
  });
  (void)kept->Write(request);
  began.Set();
}

void ProbeService::FailStream(Call&, const Failure& request, Writer<Item> out) {
  (void)out.Write(Item());
  out.Finish(StatusOf(request));
}

void ProbeService::DropStream(Call&, const Item&, Writer<Item>) {}

void ProbeService::Sum(Call&, Reader<Item> in, Reply<Item> reply) {
  std::make_shared<Adder>(std::move(in), std::move(reply))->Go();
}

void ProbeService::SumLate(Call&, Reader<Item> in, Reply<Item> reply) {
  began.Set();
  read_late.Wait();
  Item item;
  Item sum;
  while (in.Read(&item)) sum.set_number(sum.number() + item.number());
  reply.Send(sum);
}

void ProbeService::First(Call&, Reader<Item> in, Reply<Item> reply) {
  Item item;
  if (in.Read(&item)) reply.Send(item);
}

void ProbeService::Chat(Call&, Reader<Item> in, Writer<Item> out) {
  Item item;
  while (in.Read(&item)) {
    if (!out.Write(item).ok()) return;
  }
  out.Finish(absl::OkStatus());
}

}  // namespace tests::wire

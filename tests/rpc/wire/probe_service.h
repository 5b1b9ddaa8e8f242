// The service of probe.proto.

#ifndef TANDEM_TESTS_RPC_WIRE_PROBE_SERVICE_H_
#define TANDEM_TESTS_RPC_WIRE_PROBE_SERVICE_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "rpc/base/mutex.h"
#include "tests/rpc/wire/probe.tandem.h"

namespace tests::wire {

// Something that happens once and can be waited for.
class Event {
 public:
  void Set() {
    tandem::rpc::MutexLock lock(mu_);
    is_set_ = true;
    mu_.NotifyAll();
  }
  // True once it has happened; false when it has not for a long time.
  bool Wait() {
    tandem::rpc::MutexLock lock(mu_);
    return mu_.AwaitFor(absl::Seconds(30), [this] { return is_set_; });
  }
  bool is_set() {
    tandem::rpc::MutexLock lock(mu_);
    return is_set_;
  }

 private:
  tandem::rpc::Mutex mu_;
  bool is_set_ = false;
};

class ProbeService final : public ProbeHandler {
 public:
  ~ProbeService() override;

  absl::StatusOr<Item> Echo(tandem::rpc::Call& call,
                            const Item& request) override;
  absl::StatusOr<Item> EchoInline(tandem::rpc::Call& call,
                                  const Item& request) override;
  void EchoLater(tandem::rpc::Call& call, const Item& request,
                 tandem::rpc::Reply<Item> reply) override;
  void EchoLaterInline(tandem::rpc::Call& call, const Item& request,
                       tandem::rpc::Reply<Item> reply) override;
  absl::StatusOr<Item> Fail(tandem::rpc::Call& call,
                            const Failure& request) override;
  absl::StatusOr<Item> Hang(tandem::rpc::Call& call,
                            const Item& request) override;
  void HangLater(tandem::rpc::Call& call, const Item& request,
                 tandem::rpc::Reply<Item> reply) override;
  void Drop(tandem::rpc::Call& call, const Item& request,
            tandem::rpc::Reply<Item> reply) override;
  absl::StatusOr<Item> Grow(tandem::rpc::Call& call,
                            const Item& request) override;
  void Count(tandem::rpc::Call& call, const Item& request,
             tandem::rpc::Writer<Item> out) override;
  void Flood(tandem::rpc::Call& call, const Item& request,
             tandem::rpc::Writer<Item> out) override;
  void Linger(tandem::rpc::Call& call, const Item& request,
              tandem::rpc::Writer<Item> out) override;
  void FailStream(tandem::rpc::Call& call, const Failure& request,
                  tandem::rpc::Writer<Item> out) override;
  void DropStream(tandem::rpc::Call& call, const Item& request,
                  tandem::rpc::Writer<Item> out) override;
  void Sum(tandem::rpc::Call& call, tandem::rpc::Reader<Item> in,
           tandem::rpc::Reply<Item> reply) override;
  void SumLate(tandem::rpc::Call& call, tandem::rpc::Reader<Item> in,
               tandem::rpc::Reply<Item> reply) override;
  void First(tandem::rpc::Call& call, tandem::rpc::Reader<Item> in,
             tandem::rpc::Reply<Item> reply) override;
  void Chat(tandem::rpc::Call& call, tandem::rpc::Reader<Item> in,
            tandem::rpc::Writer<Item> out) override;

  // What tests wait for.
  Event began;      // Hang, HangLater or Linger was called.
  Event cancelled;  // It was told that the call was cancelled.
  Event flooded;    // Flood found no more room, after so many messages.
  std::atomic<std::int64_t> flood{0};
  Event read_late;  // Set by the test: SumLate may read.
  std::atomic<int> calls{0};
  std::atomic<int> hung{0};  // Calls of Hang that have begun.

  // Of the last call of Echo or Count.
  tandem::rpc::Caller last_caller() const;
  absl::Time last_deadline() const;
  tandem::rpc::Metadata last_metadata() const;

 private:
  void Note(const tandem::rpc::Call& call) ABSL_LOCKS_EXCLUDED(mu_);
  // Runs on a thread of its own.
  void Later(std::function<void()> work);

  mutable tandem::rpc::Mutex mu_;
  tandem::rpc::Caller last_caller_ ABSL_GUARDED_BY(mu_);
  absl::Time last_deadline_ ABSL_GUARDED_BY(mu_);
  tandem::rpc::Metadata last_metadata_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tests::wire

#endif  // TANDEM_TESTS_RPC_WIRE_PROBE_SERVICE_H_

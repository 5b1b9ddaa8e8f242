#include "tests/bench/wire/tandem_echo.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rpc/base/status_macros.h"
#include "rpc/client/channel.h"
#include "rpc/server/server.h"
#include "tests/bench/wire/closed_loop.h"
#include "tests/bench/wire/echo.tandem.h"

namespace tandem::bench {
namespace {

using ::tests::bench::EchoClient;
using ::tests::bench::EchoHandler;
using ::tests::bench::Item;

constexpr absl::Duration kConnectTimeout = absl::Minutes(1);
// Deeper than any cell.
constexpr int kMaxQueued = 8192;
constexpr int kMostThreads = 64;

// Streams so many bytes as fast as the client takes them.
class Reading : public std::enable_shared_from_this<Reading> {
 public:
  Reading(std::int64_t bytes, rpc::Writer<Item> out)
      : left_(bytes), out_(std::move(out)) {
    chunk_.set_data(std::string(kChunk, 'x'));
  }

  void Go() {
    while (left_ > 0) {
      const absl::Status status = out_.Write(chunk_);
      if (absl::IsResourceExhausted(status)) {
        return out_.OnWritable([self = shared_from_this()] { self->Go(); });
      }
      if (!status.ok()) return out_.Finish(status);
      left_ -= static_cast<std::int64_t>(kChunk);
    }
    out_.Finish(absl::OkStatus());
  }

 private:
  std::int64_t left_;
  rpc::Writer<Item> out_;
  Item chunk_;
};

class EchoService final : public EchoHandler {
 public:
  absl::StatusOr<Item> Get(rpc::Call&, const Item& request) override {
    return request;
  }
  absl::StatusOr<Item> GetInline(rpc::Call&, const Item& request) override {
    return request;
  }
  void Push(rpc::Call&, rpc::Reader<Item> in, rpc::Reply<Item> reply) override {
    Item item;
    std::int64_t count = 0;
    while (in.Read(&item)) ++count;
    item.Clear();
    item.set_number(count);
    reply.Send(std::move(item));
  }
  void Read(rpc::Call&, const Item& request, rpc::Writer<Item> out) override {
    std::make_shared<Reading>(request.number(), std::move(out))->Go();
  }
};

absl::Status Check(const Item& reply, const Cell& cell) {
  if (reply.data().size() == cell.payload) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("an answer has ", reply.data().size(), " bytes"));
}

class TandemCaller final : public Caller {
 public:
  TandemCaller(std::string address, const TandemOptions& options)
      : address_(std::move(address)), options_(options) {}

  absl::Status Begin() {
    TANDEM_ASSIGN_OR_RETURN(channel_, Connect());
    client_ = std::make_unique<EchoClient>(*channel_);
    return channel_->WaitForConnected(kConnectTimeout);
  }

 private:
  bool Does(const Cell& cell) const override {
    if (cell.kind == Kind::kCalls) {
      return !options_.threads || cell.depth <= kMostThreads;
    }
    // The variants are about calls.
    return !options_.pool && !options_.threads &&
           options_.spin == absl::ZeroDuration();
  }

  absl::StatusOr<Figures> RunCalls(const Cell& cell) override {
    if (options_.threads || cell.depth == 1) return RunBlocking(cell);
    return RunCallbacks(cell);
  }

  absl::StatusOr<std::unique_ptr<rpc::Channel>> Connect() const {
    return rpc::Channel::Connect(
        address_, {.wire = options_.wire, .spin = options_.spin});
  }

  static Item Request(const Cell& cell) {
    Item item;
    item.set_number(42);
    if (cell.payload > 0) item.set_data(std::string(cell.payload, 'x'));
    return item;
  }

  absl::Status Call(const Item& request, const Cell& cell) const {
    const auto reply =
        options_.pool ? client_->Get(request) : client_->GetInline(request);
    return reply.ok() ? Check(*reply, cell) : reply.status();
  }

  absl::StatusOr<Figures> RunBlocking(const Cell& cell) {
    const Item request = Request(cell);
    return ClosedLoop(cell).RunBlocking([&] { return Call(request, cell); });
  }

  // One call after the other, each from the callback of the one before.
  struct Callbacks {
    ClosedLoop loop;
    const Cell& cell;
    const EchoClient& client;
    const bool pool;
    const Item request;

    void Begin(ClosedLoop::Slot& slot) {
      const auto done = [this, &slot](const absl::Status& status, Item& reply) {
        if (loop.Next(slot, status.ok() ? Check(reply, cell) : status)) {
          Begin(slot);
        }
      };
      pool ? const_cast<EchoClient&>(client).Get(request, {}, done)
           : const_cast<EchoClient&>(client).GetInline(request, {}, done);
    }
  };

  absl::StatusOr<Figures> RunCallbacks(const Cell& cell) {
    Callbacks calls{ClosedLoop(cell), cell, *client_, options_.pool,
                    Request(cell)};
    return calls.loop.Run([&](ClosedLoop::Slot& slot) { calls.Begin(slot); });
  }

  absl::StatusOr<Figures> RunPush(const Cell& cell) override {
    const Item item = Request(cell);
    const std::int64_t begun = NowNanos();
    auto stream = client_->Push();
    for (std::int64_t i = 0; i < cell.calls; ++i) {
      TANDEM_RETURN_IF_ERROR(stream.Write(item));
    }
    TANDEM_ASSIGN_OR_RETURN(const Item reply, stream.Finish());
    if (reply.number() != cell.calls) {
      return absl::InternalError("messages are missing");
    }
    return PushedSince(begun, cell);
  }

  absl::StatusOr<Figures> RunRead(const Cell& cell) override {
    Item request;
    request.set_number(static_cast<std::int64_t>(cell.payload));
    Item chunk;
    return ClosedLoop(cell).RunBlocking([&]() -> absl::Status {
      auto stream = client_->Read(request);
      std::size_t bytes = 0;
      while (stream.Read(&chunk)) bytes += chunk.data().size();
      TANDEM_RETURN_IF_ERROR(stream.status());
      return bytes < cell.payload ? absl::InternalError("bytes are missing")
                                  : absl::OkStatus();
    });
  }

  absl::StatusOr<Figures> RunConnects(const Cell& cell) override {
    const Item request = Request(cell);
    return ClosedLoop(cell).RunBlocking([&]() -> absl::Status {
      TANDEM_ASSIGN_OR_RETURN(const auto channel, Connect());
      return EchoClient(*channel).GetInline(request).status();
    });
  }

  const std::string address_;
  const TandemOptions options_;
  std::unique_ptr<rpc::Channel> channel_;
  std::unique_ptr<EchoClient> client_;
};

}  // namespace

absl::Status ServeTandem(const std::string& address, absl::Duration spin) {
  EchoService service;
  rpc::ServerOptions options;
  options.address = address;
  options.services = {Serve(service)};
  options.max_queued_calls = kMaxQueued;
  options.poll_spin = spin;
  TANDEM_ASSIGN_OR_RETURN(const auto server,
                          rpc::Server::Start(std::move(options)));
  return server->RunUntilSignal(absl::Seconds(1));
}

absl::StatusOr<std::unique_ptr<Caller>> CallTandem(
    const std::string& address, const TandemOptions& options) {
  auto caller = std::make_unique<TandemCaller>(address, options);
  TANDEM_RETURN_IF_ERROR(caller->Begin());
  return caller;
}

}  // namespace tandem::bench

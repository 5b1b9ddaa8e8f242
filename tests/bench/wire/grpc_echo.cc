#include "tests/bench/wire/grpc_echo.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "rpc/base/status_macros.h"
#include "rpc/server/termination.h"
#include "tests/bench/wire/closed_loop.h"
#include "tests/bench/wire/echo.grpc.pb.h"

namespace tandem::bench {
namespace {

using ::tests::bench::Echo;
using ::tests::bench::Item;

absl::Status StatusOf(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
}

class Pushed final : public grpc::ServerReadReactor<Item> {
 public:
  explicit Pushed(Item* reply) : reply_(reply) { StartRead(&item_); }
  void OnReadDone(bool has_message) override {
    if (has_message) {
      ++count_;
      return StartRead(&item_);
    }
    reply_->set_number(count_);
    Finish(grpc::Status::OK);
  }
  void OnDone() override { delete this; }

 private:
  Item* const reply_;
  Item item_;
  std::int64_t count_ = 0;
};

class Reading final : public grpc::ServerWriteReactor<Item> {
 public:
  explicit Reading(std::int64_t bytes) : left_(bytes) {
    chunk_.set_data(std::string(kChunk, 'x'));
    OnWriteDone(true);
  }
  void OnWriteDone(bool was_sent) override {
    if (left_ <= 0 || !was_sent) return Finish(grpc::Status::OK);
    left_ -= static_cast<std::int64_t>(kChunk);
    StartWrite(&chunk_);
  }
  void OnDone() override { delete this; }

 private:
  std::int64_t left_;
  Item chunk_;
};

class EchoService final : public Echo::CallbackService {
 public:
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context,
                                const Item* request, Item* reply) override {
    *reply = *request;
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerReadReactor<Item>* Push(grpc::CallbackServerContext*,
                                      Item* reply) override {
    return new Pushed(reply);
  }
  grpc::ServerWriteReactor<Item>* Read(grpc::CallbackServerContext*,
                                       const Item* request) override {
    return new Reading(request->number());
  }
};

absl::Status Check(const grpc::Status& status, const Item& reply,
                   const Cell& cell) {
  if (!status.ok()) return StatusOf(status);
  if (reply.data().size() == cell.payload) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("an answer has ", reply.data().size(), " bytes"));
}

class GrpcCaller final : public Caller {
 public:
  explicit GrpcCaller(std::string address)
      : address_(std::move(address)), stub_(NewStub(/*is_new=*/false)) {}

 private:
  absl::StatusOr<Figures> RunCalls(const Cell& cell) override {
    const Item request = Request(cell);
    return cell.depth == 1 ? RunBlocking(cell, request)
                           : RunCallbacks(cell, request);
  }

  absl::StatusOr<Figures> RunConnects(const Cell& cell) override {
    const Item request = Request(cell);
    return ClosedLoop(cell).RunBlocking(
        [&] { return Call(*NewStub(/*is_new=*/true), request, cell); });
  }

  std::unique_ptr<Echo::Stub> NewStub(bool is_new) const {
    grpc::ChannelArguments arguments;
    // Else channels of a process share a connection.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, is_new ? 1 : 0);
    return Echo::NewStub(grpc::CreateCustomChannel(
        address_, grpc::InsecureChannelCredentials(), arguments));
  }

  static Item Request(const Cell& cell) {
    Item item;
    item.set_number(42);
    if (cell.kind == Kind::kRead) {
      item.set_number(static_cast<std::int64_t>(cell.payload));
    } else if (cell.payload > 0) {
      item.set_data(std::string(cell.payload, 'x'));
    }
    return item;
  }

  static absl::Status Call(Echo::Stub& stub, const Item& request,
                           const Cell& cell) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    Item reply;
    const grpc::Status status = stub.Get(&context, request, &reply);
    return Check(status, reply, cell);
  }

  absl::StatusOr<Figures> RunBlocking(const Cell& cell, const Item& request) {
    return ClosedLoop(cell).RunBlocking(
        [&] { return Call(*stub_, request, cell); });
  }

  // A slot's call.
  struct InFlight {
    std::optional<grpc::ClientContext> context;
    Item reply;
  };
  struct Callbacks {
    ClosedLoop loop;
    const Cell& cell;
    const Item& request;
    Echo::Stub& stub;

    void Begin(ClosedLoop::Slot& slot, InFlight& call) {
      call.context.emplace();
      call.context->set_wait_for_ready(true);
      stub.async()->Get(&*call.context, &request, &call.reply,
                        [this, &slot, &call](const grpc::Status& status) {
                          const absl::Status checked =
                              Check(status, call.reply, cell);
                          if (loop.Next(slot, checked)) Begin(slot, call);
                        });
    }
  };

  absl::StatusOr<Figures> RunCallbacks(const Cell& cell, const Item& request) {
    std::vector<InFlight> in_flight(static_cast<std::size_t>(cell.depth));
    Callbacks calls{ClosedLoop(cell), cell, request, *stub_};
    auto next = in_flight.begin();
    return calls.loop.Run(
        [&](ClosedLoop::Slot& slot) { calls.Begin(slot, *next++); });
  }

  absl::StatusOr<Figures> RunPush(const Cell& cell) override {
    const Item item = Request(cell);
    const std::int64_t begun = NowNanos();
    grpc::ClientContext context;
    Item reply;
    const auto stream = stub_->Push(&context, &reply);
    for (std::int64_t i = 0; i < cell.calls; ++i) {
      if (!stream->Write(item)) return absl::UnavailableError("Write fails");
    }
    stream->WritesDone();
    const grpc::Status status = stream->Finish();
    if (!status.ok()) return StatusOf(status);
    return PushedSince(begun, cell);
  }

  absl::StatusOr<Figures> RunRead(const Cell& cell) override {
    const Item request = Request(cell);
    return ClosedLoop(cell).RunBlocking([&] {
      grpc::ClientContext context;
      const auto stream = stub_->Read(&context, request);
      Item chunk;
      while (stream->Read(&chunk)) {
      }
      return StatusOf(stream->Finish());
    });
  }

  const std::string address_;
  const std::unique_ptr<Echo::Stub> stub_;
};

}  // namespace

absl::Status ServeGrpc(const std::string& address) {
  TANDEM_ASSIGN_OR_RETURN(const auto termination, rpc::Termination::Create());
  EchoService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (server == nullptr) return absl::UnavailableError("no server starts");
  termination->Wait(absl::InfiniteDuration());
  server->Shutdown(std::chrono::system_clock::now());
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Caller>> CallGrpc(const std::string& address) {
  return std::make_unique<GrpcCaller>(address);
}

}  // namespace tandem::bench

// Services written for gRPC's own generated classes, of either API, behind a
// guard that admits some methods and refuses others.

#include "rpc/wire/grpc/guarded_service.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/method_handler.h>

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/wire/grpc/stream_watch.h"
#include "tests/rpc/wire/other.grpc.pb.h"
#include "tests/rpc/wire/probe.grpc.pb.h"
#include "tests/support/eventually.h"

namespace tandem::rpc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using tests::wire::Failure;
using tests::wire::Item;
using tests::wire::Probe;
using tests::wire::other::Streams;

constexpr uid_t kCaller = 4711;
constexpr int kMaxCalls = 3;
constexpr std::size_t kMaxMemory = 100'000;

// What a handler noticed, for the test to see.
struct Noticed {
  std::atomic<int> calls{0};
  // One for each call whose caller was not the one admitted.
  std::atomic<int> strangers{0};
  // Of Chat.
  std::atomic<int> written{0};
  // Requests for the blocking Echo.
  std::atomic<int> parsed{0};

  void Begin(const grpc::ServerContextBase& context) {
    ++calls;
    const auto caller = CallerOf(context);
    if (!caller.ok() || caller->uid != kCaller) ++strangers;
  }
};

// What gRPC's generated code has for Echo, and notices what is parsed.
class EchoMethod final : public grpc::internal::MethodHandler {
 public:
  EchoMethod(Probe::Service& service, Noticed& noticed)
      : generated_(
            [](Probe::Service* probe, grpc::ServerContext* context,
               const Item* request,
               Item* reply) { return probe->Echo(context, request, reply); },
            &service),
        noticed_(noticed) {}

  void* Deserialize(grpc_call* call, grpc_byte_buffer* bytes,
                    grpc::Status* status, void** handler_data) override {
    ++noticed_.parsed;
    return generated_.Deserialize(call, bytes, status, handler_data);
  }
  void RunHandler(const HandlerParameter& call) override {
    generated_.RunHandler(call);
  }

 private:
  grpc::internal::RpcMethodHandler<Probe::Service, Item, Item,
                                   google::protobuf::MessageLite,
                                   google::protobuf::MessageLite>
      generated_;
  Noticed& noticed_;
};

class BlockingProbe final : public Probe::Service {
 public:
  explicit BlockingProbe(Noticed& noticed) : noticed_(noticed) {
    // The first of its methods.
    MarkMethodStreamed(0, new EchoMethod(*this, noticed));
  }

  grpc::Status Echo(grpc::ServerContext* context, const Item* request,
                    Item* reply) override {
    noticed_.Begin(*context);
    *reply = *request;
    return grpc::Status::OK;
  }
  grpc::Status Fail(grpc::ServerContext* context, const Failure* request,
                    Item*) override {
    noticed_.Begin(*context);
    return {static_cast<grpc::StatusCode>(request->code()), request->message()};
  }
  grpc::Status Count(grpc::ServerContext* context, const Item* request,
                     grpc::ServerWriter<Item>* out) override {
    noticed_.Begin(*context);
    for (Item item; item.number() < request->number();
         item.set_number(item.number() + 1)) {
      if (!out->Write(item)) break;
    }
    return grpc::Status::OK;
  }
  grpc::Status Sum(grpc::ServerContext* context, grpc::ServerReader<Item>* in,
                   Item* reply) override {
    noticed_.Begin(*context);
    Item item;
    while (in->Read(&item)) reply->set_number(reply->number() + item.number());
    return grpc::Status::OK;
  }
  grpc::Status Chat(grpc::ServerContext* context,
                    grpc::ServerReaderWriter<Item, Item>* stream) override {
    noticed_.Begin(*context);
    Item item;
    while (stream->Read(&item)) {
      stream->Write(item);
      ++noticed_.written;
    }
    return grpc::Status::OK;
  }

 private:
  Noticed& noticed_;
};

class CallbackProbe final : public Probe::CallbackService {
 public:
  explicit CallbackProbe(Noticed& noticed) : noticed_(noticed) {}

  grpc::ServerUnaryReactor* Echo(grpc::CallbackServerContext* context,
                                 const Item* request, Item* reply) override {
    noticed_.Begin(*context);
    *reply = *request;
    auto* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerUnaryReactor* Fail(grpc::CallbackServerContext* context,
                                 const Failure* request, Item*) override {
    noticed_.Begin(*context);
    auto* const reactor = context->DefaultReactor();
    reactor->Finish(
        {static_cast<grpc::StatusCode>(request->code()), request->message()});
    return reactor;
  }
  grpc::ServerWriteReactor<Item>* Count(grpc::CallbackServerContext* context,
                                        const Item* request) override {
    noticed_.Begin(*context);
    class Counter final : public grpc::ServerWriteReactor<Item> {
     public:
      explicit Counter(std::int64_t end) : end_(end) { Next(); }
      void OnWriteDone(bool ok) override {
        if (ok) return Next();
        Finish(grpc::Status::CANCELLED);
      }
      void OnDone() override { delete this; }

     private:
      void Next() {
        if (next_ == end_) return Finish(grpc::Status::OK);
        item_.set_number(next_++);
        StartWrite(&item_);
      }
      const std::int64_t end_;
      std::int64_t next_ = 0;
      Item item_;
    };
    return new Counter(request->number());
  }
  grpc::ServerReadReactor<Item>* Sum(grpc::CallbackServerContext* context,
                                     Item* reply) override {
    noticed_.Begin(*context);
    class Adder final : public grpc::ServerReadReactor<Item> {
     public:
      explicit Adder(Item* sum) : sum_(sum) { StartRead(&item_); }
      void OnReadDone(bool ok) override {
        if (!ok) return Finish(grpc::Status::OK);
        sum_->set_number(sum_->number() + item_.number());
        StartRead(&item_);
      }
      void OnDone() override { delete this; }

     private:
      Item* const sum_;
      Item item_;
    };
    return new Adder(reply);
  }
  grpc::ServerBidiReactor<Item, Item>* Chat(
      grpc::CallbackServerContext* context) override {
    noticed_.Begin(*context);
    // Reactions run on other threads, where the context says nothing.
    class Chatter final : public grpc::ServerBidiReactor<Item, Item> {
     public:
      Chatter(const grpc::CallbackServerContext& context, Noticed& noticed)
          : context_(context), noticed_(noticed) {
        StartRead(&item_);
      }
      void OnReadDone(bool ok) override {
        if (CallerOf(context_).ok()) ++noticed_.strangers;
        if (!ok) return Finish(grpc::Status::OK);
        StartWrite(&item_);
      }
      void OnWriteDone(bool ok) override {
        ++noticed_.written;
        StartRead(&item_);
      }
      void OnDone() override { delete this; }

     private:
      const grpc::CallbackServerContext& context_;
      Noticed& noticed_;
      Item item_;
    };
    return new Chatter(*context, noticed_);
  }

 private:
  Noticed& noticed_;
};

enum class Api { kBlocking, kCallback };

class GuardedTest : public ::testing::Test {
 protected:
  void Serve(ServedGrpc served) {
    auto guarded = GuardedService::Create(
        served,
        {.connection_of = [this](const std::string&) { return connection_; },
         .guard = &guard_});
    ASSERT_THAT(guarded, IsOk());
    guarded_ = *std::move(guarded);
    grpc::ServerBuilder builder;
    builder.RegisterService(guarded_.get());
    std::vector<
        std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
        watches;
    watches.push_back(std::make_unique<StreamWatches>(
        std::set<std::string, std::less<>>{std::string(served.name)}));
    builder.experimental().SetInterceptorCreators(std::move(watches));
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    channel_ = server_->InProcessChannel({});
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  }

  // Sends `item` three times there and back.
  template <typename Stub, typename Item>
  void ExpectChatIsCounted(Stub& stub, const Item& item) {
    grpc::ClientContext context;
    const auto stream = stub.Chat(&context);
    Item answer;
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(stream->Write(item));
      EXPECT_TRUE(stream->Read(&answer));
    }
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
    EXPECT_EQ(connection_->request_bytes(), 3 * item.ByteSizeLong());
    EXPECT_EQ(connection_->reply_bytes(), 3 * item.ByteSizeLong());
  }

  AccessPolicy policy_ = AccessPolicy().AllowUid(kCaller);
  RefusalLog refusals_{"test"};
  const CallGuard guard_{policy_, kMaxCalls, refusals_};
  std::shared_ptr<MemoryBudget> memory_ =
      std::make_shared<MemoryBudget>(kMaxMemory);
  std::shared_ptr<ServerConnection> connection_ =
      std::make_shared<ServerConnection>(Caller{.uid = kCaller}, true, memory_);
  std::unique_ptr<GuardedService> guarded_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

class GuardedServiceTest : public GuardedTest,
                           public ::testing::WithParamInterface<Api> {
 protected:
  void Start() {
    if (GetParam() == Api::kBlocking) {
      auto service = std::make_unique<BlockingProbe>(noticed_);
      Serve(ServeGrpc<Probe>(*service));
      service_ = std::move(service);
    } else {
      auto service = std::make_unique<CallbackProbe>(noticed_);
      Serve(ServeGrpc<Probe>(*service));
      service_ = std::move(service);
    }
    stub_ = Probe::NewStub(channel_);
  }
  // Its handlers use what is ours.
  void TearDown() override {
    GuardedTest::TearDown();
    server_ = nullptr;
  }

  // Makes rules that name somebody else. Before Start().
  void ForbidCalls() {
    for (const char* method : {"Echo", "Count", "Sum", "Chat"}) {
      ASSERT_THAT(policy_.AllowCall(std::string("tests.wire.Probe/") + method,
                                    AllowList().AllowUid(kCaller + 1)),
                  IsOk());
    }
  }

  // What comes back for bytes that are no message of any kind.
  grpc::Status SendGarbage(const std::string& path) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    const grpc::Slice garbage("\xff\xff\xff");
    const grpc::ByteBuffer request(&garbage, 1);
    grpc::CompletionQueue queue;
    const auto call = stub.PrepareUnaryCall(&context, path, request, &queue);
    call->StartCall();
    grpc::ByteBuffer reply;
    grpc::Status status;
    call->Finish(&reply, &status, nullptr);
    void* tag;
    bool ok;
    queue.Next(&tag, &ok);
    return status;
  }

  void ExpectRefused(const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
    EXPECT_THAT(status.error_message(), HasSubstr("4711"));
    EXPECT_EQ(noticed_.calls, 0);
  }

  Noticed noticed_;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<Probe::Stub> stub_;
};

INSTANTIATE_TEST_SUITE_P(, GuardedServiceTest,
                         ::testing::Values(Api::kBlocking, Api::kCallback),
                         [](const auto& api) {
                           return api.param == Api::kBlocking ? "Blocking"
                                                              : "Callback";
                         });

TEST_P(GuardedServiceTest, EveryShapeIsServedAndKnowsItsCaller) {
  Start();
  Item item;
  item.set_number(3);
  Item reply;
  {
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->Echo(&context, item, &reply).ok());
    EXPECT_EQ(reply.number(), 3);
  }
  {
    grpc::ClientContext context;
    const auto reader = stub_->Count(&context, item);
    std::int64_t next = 0;
    while (reader->Read(&reply)) EXPECT_EQ(reply.number(), next++);
    EXPECT_EQ(next, 3);
    EXPECT_TRUE(reader->Finish().ok());
  }
  {
    grpc::ClientContext context;
    const auto writer = stub_->Sum(&context, &reply);
    EXPECT_TRUE(writer->Write(item));
    EXPECT_TRUE(writer->Write(item));
    writer->WritesDone();
    EXPECT_TRUE(writer->Finish().ok());
    EXPECT_EQ(reply.number(), 6);
  }
  {
    grpc::ClientContext context;
    const auto stream = stub_->Chat(&context);
    EXPECT_TRUE(stream->Write(item));
    EXPECT_TRUE(stream->Read(&reply));
    EXPECT_EQ(reply.number(), 3);
    stream->WritesDone();
    EXPECT_FALSE(stream->Read(&reply));
    EXPECT_TRUE(stream->Finish().ok());
  }
  EXPECT_EQ(noticed_.calls, 4);
  EXPECT_EQ(noticed_.parsed, GetParam() == Api::kBlocking ? 1 : 0);
  EXPECT_EQ(noticed_.strangers, 0);
  EXPECT_EQ(connection_->calls(), 4);
}

TEST_P(GuardedServiceTest, NoShapeIsReachedWhenRefused) {
  ForbidCalls();
  Start();
  Item item;
  {
    grpc::ClientContext context;
    ExpectRefused(stub_->Echo(&context, item, &item));
  }
  {
    grpc::ClientContext context;
    const auto reader = stub_->Count(&context, item);
    EXPECT_FALSE(reader->Read(&item));
    ExpectRefused(reader->Finish());
  }
  {
    grpc::ClientContext context;
    const auto writer = stub_->Sum(&context, &item);
    writer->Write(item);
    writer->WritesDone();
    ExpectRefused(writer->Finish());
  }
  {
    grpc::ClientContext context;
    const auto stream = stub_->Chat(&context);
    stream->Write(item);
    EXPECT_FALSE(stream->Read(&item));
    ExpectRefused(stream->Finish());
  }
}

TEST_P(GuardedServiceTest, RefusedRequestIsNotParsed) {
  ForbidCalls();
  Start();
  // Admitted, garbage is what gRPC says it is.
  EXPECT_NE(SendGarbage("/tests.wire.Probe/Fail").error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  ExpectRefused(SendGarbage("/tests.wire.Probe/Echo"));
  ExpectRefused(SendGarbage("/tests.wire.Probe/Count"));
  EXPECT_EQ(noticed_.parsed, 0);
}

TEST_P(GuardedServiceTest, HandlersErrorsArriveAsTheyAre) {
  Start();
  grpc::ClientContext context;
  Failure failure;
  failure.set_code(9);
  failure.set_message("as it is");
  Item reply;
  const grpc::Status status = stub_->Fail(&context, failure, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "as it is");
}

TEST_P(GuardedServiceTest, MethodNobodyImplementsIsUnimplemented) {
  Start();
  grpc::ClientContext context;
  Item item;
  EXPECT_EQ(stub_->Missing(&context, item, &item).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_P(GuardedServiceTest, CallerThatNobodyKnowsIsRefused) {
  connection_ = nullptr;
  Start();
  grpc::ClientContext context;
  Item item;
  const grpc::Status status = stub_->Echo(&context, item, &item);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(noticed_.calls, 0);
  EXPECT_EQ(refusals_.count(Refusal::kUnknownCaller), 1u);
}

TEST_P(GuardedServiceTest, CallIsInFlightUntilItHasEnded) {
  Start();
  Item item;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderWriter<Item, Item>>> streams;
  for (int i = 0; i < kMaxCalls; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(stub_->Chat(contexts.back().get()));
    ASSERT_TRUE(streams.back()->Write(item));
    ASSERT_TRUE(streams.back()->Read(&item));
  }
  {
    grpc::ClientContext context;
    EXPECT_EQ(stub_->Echo(&context, item, &item).error_code(),
              grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  for (auto& stream : streams) {
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
  EXPECT_TRUE(
      test::Eventually([&] { return connection_->calls_in_flight() == 0; }));
  grpc::ClientContext context;
  EXPECT_TRUE(stub_->Echo(&context, item, &item).ok());
}

TEST_P(GuardedServiceTest, StreamThatNobodyReadsIsEnded) {
  Start();
  grpc::ClientContext context;
  Item request;
  request.set_number(10'000'000);
  const auto reader = stub_->Count(&context, request);
  // As the front door does.
  ASSERT_TRUE(test::Eventually([&] {
    EXPECT_TRUE(connection_->EndStalled(absl::Milliseconds(100)));
    return refusals_.count(Refusal::kSlowReader) == 1;
  }));
  // So a blocking handler has left its thread.
  ASSERT_TRUE(
      test::Eventually([&] { return connection_->calls_in_flight() == 0; }));
  Item item;
  while (reader->Read(&item)) continue;
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_THAT(status.error_message(), HasSubstr("does not read"));
  EXPECT_LT(item.number(), request.number() - 1);
}

TEST_P(GuardedServiceTest, StreamThatIsReadIsNotEnded) {
  Start();
  grpc::ClientContext context;
  const auto stream = stub_->Chat(&context);
  Item item;
  for (int i = 1; i <= 3; ++i) {
    EXPECT_TRUE(stream->Write(item));
    EXPECT_TRUE(stream->Read(&item));
    EXPECT_TRUE(test::Eventually([&] { return noticed_.written == i; }));
    // Even what has begun only just now would be ended.
    EXPECT_TRUE(connection_->EndStalled(-absl::Seconds(1)));
  }
  EXPECT_EQ(refusals_.count(Refusal::kSlowReader), 0u);
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&item));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_P(GuardedServiceTest, MessagesOfStreamsAreCounted) {
  Start();
  Item item;
  item.set_data(std::string(1000, 'x'));
  ExpectChatIsCounted(*stub_, item);
}

TEST_P(GuardedServiceTest, StreamThatMemoryIsShortForIsEnded) {
  Start();
  Item item;
  item.set_data(std::string(kMaxMemory, 'x'));
  {
    grpc::ClientContext context;
    Item sum;
    const auto writer = stub_->Sum(&context, &sum);
    writer->Write(item);
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_THAT(status.error_message(), HasSubstr("tests.wire.Probe/Sum"));
  }
  EXPECT_EQ(refusals_.count(Refusal::kOutOfRequestMemory), 1u);
  EXPECT_TRUE(test::Eventually([&] { return memory_->used() == 0; }));
}

TEST_P(GuardedServiceTest, RequestThatMemoryIsShortForIsRefused) {
  Start();
  Item item;
  item.set_data(std::string(kMaxMemory, 'x'));
  Item reply;
  {
    grpc::ClientContext context;
    EXPECT_EQ(stub_->Echo(&context, item, &reply).error_code(),
              grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  EXPECT_EQ(noticed_.calls, 0);
  item.set_data(std::string(kMaxMemory / 2, 'x'));
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(
        test::Eventually([&] { return connection_->calls_in_flight() == 0; }));
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->Echo(&context, item, &reply).ok());
  }
}

TEST(CallerOfTest, ContextOfNoCallHasNoCaller) {
  const grpc::CallbackServerContext context;
  EXPECT_THAT(CallerOf(context),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

// Messages that gRPC does not parse.
class RawStreams final
    : public Streams::WithRawCallbackMethod_Chat<
          Streams::WithRawCallbackMethod_Sum<Streams::Service>> {
 public:
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Chat(
      grpc::CallbackServerContext*) override {
    class Chatter final
        : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
     public:
      Chatter() { StartRead(&bytes_); }
      void OnReadDone(bool ok) override {
        if (!ok) return Finish(grpc::Status::OK);
        StartWrite(&bytes_);
      }
      void OnWriteDone(bool ok) override {
        bytes_.Clear();
        StartRead(&bytes_);
      }
      void OnDone() override { delete this; }

     private:
      grpc::ByteBuffer bytes_;
    };
    return new Chatter();
  }
  grpc::ServerReadReactor<grpc::ByteBuffer>* Sum(grpc::CallbackServerContext*,
                                                 grpc::ByteBuffer*) override {
    class Reader final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
     public:
      Reader() { StartRead(&bytes_); }
      void OnReadDone(bool ok) override {
        if (!ok) return Finish({grpc::StatusCode::ABORTED, "no sum"});
        bytes_.Clear();
        StartRead(&bytes_);
      }
      void OnDone() override { delete this; }

     private:
      grpc::ByteBuffer bytes_;
    };
    return new Reader();
  }
};

TEST_F(GuardedTest, MessagesThatAreNotParsedAreCountedToo) {
  RawStreams service;
  Serve(ServeGrpc<Streams>(service));
  const auto stub = Streams::NewStub(channel_);
  tests::wire::other::Item item;
  item.set_data(std::string(1000, 'x'));
  ExpectChatIsCounted(*stub, item);
  grpc::ClientContext context;
  tests::wire::other::Item sum;
  const auto writer = stub->Sum(&context, &sum);
  EXPECT_TRUE(writer->Write(item));
  writer->WritesDone();
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(connection_->request_bytes(), 4 * item.ByteSizeLong());
  TearDown();
  server_ = nullptr;
}

TEST(GuardedServiceCreateTest, OtherApisAreRefusedWithAReason) {
  const auto create = [](auto& service) {
    return GuardedService::Create(ServeGrpc<Probe>(service), {}).status();
  };
  Probe::AsyncService completion_queue;
  EXPECT_THAT(create(completion_queue),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("tests.wire.Probe"),
                             HasSubstr("completion queue"))));
  Probe::WithGenericMethod_Echo<Probe::Service> generic;
  EXPECT_THAT(create(generic), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("generic")));
  Probe::WithCallbackMethod_Echo<Probe::Service> mixed;
  EXPECT_THAT(create(mixed),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("mixes")));
}

}  // namespace
}  // namespace tandem::rpc

// A server that serves what was written for gRPC's own generated classes beside
// services of our own, tells its health, and reflects.

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.tandem.h"
#include "grpc/reflection/v1/reflection.tandem.h"
#include "grpc/reflection/v1alpha/reflection.tandem.h"
#include "gtest/gtest.h"
#include "kv/v1/store.grpc.pb.h"
#include "rpc/base/unique_fd.h"
#include "rpc/client/channel.h"
#include "rpc/client/stub_channel.h"
#include "rpc/server/server.h"
#include "rpc/socket/dial.h"
#include "rpc/socket/unix_address.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tandem/rpc/v1/admin.tandem.h"
#include "tests/rpc/wire/probe.grpc.pb.h"
#include "tests/rpc/wire/probe_service.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_grpc.h"

namespace tandem::rpc {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using tests::wire::Event;
using tests::wire::Item;

// rpc/README.md shows it.
class LegacyStore final : public kv::v1::Store::Service {
 public:
  grpc::Status Get(grpc::ServerContext* context,
                   const kv::v1::GetRequest* request,
                   kv::v1::GetReply* reply) override {
    const absl::StatusOr<Caller> caller = CallerOf(*context);
    if (!caller.ok()) return {grpc::StatusCode::INTERNAL, "no caller"};
    reply->set_value(absl::StrCat(request->key(), " of uid ", caller->uid));
    if (request->key() == "late") {
      began.Set();
      may_end.Wait();
    }
    return grpc::Status::OK;
  }
  grpc::Status Put(grpc::ServerContext*, const kv::v1::PutRequest*,
                   kv::v1::PutReply*) override {
    return grpc::Status::OK;
  }

  Event began;
  Event may_end;
};

// Blocking handlers that answer with much.
class Talker final : public tests::wire::Probe::Service {
 public:
  grpc::Status Echo(grpc::ServerContext*, const Item* request,
                    Item* reply) override {
    *reply = *request;
    return grpc::Status::OK;
  }
  grpc::Status Grow(grpc::ServerContext*, const Item* request,
                    Item* reply) override {
    began.Set();
    reply->mutable_data()->assign(request->number(), 'x');
    return grpc::Status::OK;
  }
  grpc::Status Count(grpc::ServerContext*, const Item* request,
                     grpc::ServerWriter<Item>* out) override {
    began.Set();
    for (Item item; item.number() < request->number();
         item.set_number(item.number() + 1)) {
      if (!out->Write(item)) return grpc::Status::CANCELLED;
    }
    return grpc::Status::OK;
  }

  Event began;
};

// Calls that end once nobody waits for them.
class Waiter final : public tests::wire::Probe::CallbackService {
 public:
  grpc::ServerUnaryReactor* Hang(grpc::CallbackServerContext*, const Item*,
                                 Item*) override {
    return new Call<grpc::ServerUnaryReactor>(*this);
  }
  grpc::ServerWriteReactor<Item>* Count(grpc::CallbackServerContext*,
                                        const Item*) override {
    return new Call<grpc::ServerWriteReactor<Item>>(*this);
  }

  std::atomic<int> begun{0};
  std::atomic<int> ended{0};

 private:
  template <typename Reactor>
  class Call final : public Reactor {
   public:
    explicit Call(Waiter& waiter) : waiter_(waiter) { ++waiter_.begun; }
    void OnCancel() override { this->Finish(grpc::Status::CANCELLED); }
    void OnDone() override {
      ++waiter_.ended;
      delete this;
    }

   private:
    Waiter& waiter_;
  };
};

class GrpcServicesTest : public ::testing::Test {
 protected:
  ServerOptions Options() {
    return {.address = temp_.Address("s"),
            .services = {Serve(probe_)},
            .grpc_services = {ServeGrpc<kv::v1::Store>(store_)}};
  }
  void Start(ServerOptions options) {
    auto server = Server::Start(std::move(options));
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    auto stubs = NewStubChannel(server_->address());
    ASSERT_THAT(stubs, IsOk());
    stub_ = kv::v1::Store::NewStub(*stubs);
    channel_ =
        *Channel::Connect(server_->address(), {.wire = ClientWire::kGrpc});
  }

  grpc::Status Get(const std::string& key, std::string* value = nullptr) {
    grpc::ClientContext context;
    kv::v1::GetRequest request;
    request.set_key(key);
    kv::v1::GetReply reply;
    const grpc::Status status = stub_->Get(&context, request, &reply);
    if (value != nullptr) *value = reply.value();
    return status;
  }

  absl::StatusOr<int> Health(const std::string& service) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    const auto reply = grpc::health::v1::HealthClient(*channel_).Check(request);
    if (!reply.ok()) return reply.status();
    return reply->status();
  }

  std::uint64_t Refusals(std::string_view reason) {
    const auto status = v1::AdminClient(*channel_).ServerStatus({}, {});
    EXPECT_THAT(status, IsOk());
    for (const auto& refusal : status->refusals()) {
      if (refusal.reason() == reason) return refusal.count();
    }
    ADD_FAILURE() << "no such reason: " << reason;
    return 0;
  }

  testing::TempDir temp_;
  tests::wire::ProbeService probe_;
  LegacyStore store_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<kv::v1::Store::Stub> stub_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(GrpcServicesTest, AreServedBesideOurs) {
  Start(Options());
  std::string value;
  EXPECT_TRUE(Get("colour", &value).ok());
  EXPECT_EQ(value, absl::StrCat("colour of uid ", ::geteuid()));
  EXPECT_THAT(tests::wire::ProbeClient(*channel_).Echo({}), IsOk());
}

TEST_F(GrpcServicesTest, AreBehindTheSamePolicy) {
  ServerOptions options = Options();
  ASSERT_THAT(options.access.AllowCall("kv.v1.Store/Get",
                                       AllowList().AllowUid(::geteuid() + 1)),
              IsOk());
  Start(std::move(options));
  const grpc::Status refused = Get("late");
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(refused.error_message(),
              HasSubstr("the rule for kv.v1.Store/Get"));
  grpc::ClientContext context;
  kv::v1::PutReply reply;
  EXPECT_TRUE(stub_->Put(&context, {}, &reply).ok());
}

TEST_F(GrpcServicesTest, AreServedOnce) {
  ServerOptions options = Options();
  options.grpc_services.push_back(options.grpc_services[0]);
  EXPECT_THAT(Server::Start(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("kv.v1.Store is served twice")));
}

TEST_F(GrpcServicesTest, ThatCannotBeGuardedAreRefused) {
  kv::v1::Store::AsyncService queue;
  ServerOptions options = Options();
  options.grpc_services = {ServeGrpc<kv::v1::Store>(queue)};
  EXPECT_THAT(Server::Start(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("completion queue")));
}

TEST_F(GrpcServicesTest, TakeNoMoreThreadsThanAllowed) {
  ServerOptions options = Options();
  options.max_grpc_threads = 1;
  Start(std::move(options));
  std::thread late([this] { EXPECT_TRUE(Get("late").ok()); });
  EXPECT_TRUE(store_.began.Wait());
  EXPECT_EQ(Get("colour").error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  // Ours have threads of their own.
  EXPECT_THAT(tests::wire::ProbeClient(*channel_).Echo({}), IsOk());
  store_.may_end.Set();
  late.join();
}

TEST_F(GrpcServicesTest, AnswersThatNobodyReadsHoldNoThread) {
  for (const char* method : {"Count", "Grow"}) {
    Talker talker;
    ServerOptions options = Options();
    options.services = {};
    options.grpc_services = {ServeGrpc<tests::wire::Probe>(talker)};
    options.max_grpc_threads = 1;
    options.write_timeout = absl::Milliseconds(100);
    Start(std::move(options));
    Item request;
    request.set_number(10'000'000);
    const UniqueFd deaf = test::ConnectTo(temp_.File("s"));
    test::Say(deaf,
              test::Greeting() +
                  test::UnaryCall(1, absl::StrCat("/tests.wire.Probe/", method),
                                  request.SerializeAsString()));
    ASSERT_TRUE(talker.began.Wait());
    EXPECT_TRUE(test::Eventually([&] {
      return tests::wire::ProbeClient(*channel_).Echo({}).ok();
    })) << method;
    EXPECT_GE(Refusals("slow-reader"), 1u) << method;
    server_.reset();
  }
}

TEST_F(GrpcServicesTest, AFloodOfCallsThatAreGivenUpEndsTheConnection) {
  constexpr int kCalls = 2000;
  for (const char* method : {"Hang", "Count"}) {
    SCOPED_TRACE(method);
    Waiter waiter;
    ServerOptions options = Options();
    options.services = {};
    options.grpc_services = {ServeGrpc<tests::wire::Probe>(waiter)};
    options.max_calls_per_connection = kCalls;
    Start(std::move(options));
    const UniqueFd fd = test::ConnectTo(temp_.File("s"));
    test::Say(fd, test::Greeting());
    const auto is_open = [&] {
      char answers[1 << 16];
      ssize_t got;
      while ((got = ::recv(fd.get(), answers, sizeof(answers), MSG_DONTWAIT)) >
             0) {
      }
      return got < 0 && errno == EAGAIN;
    };
    std::uint32_t stream = 1;
    for (int round = 1; round <= 50 && is_open(); ++round) {
      std::string calls;
      std::string resets;
      for (int i = 0; i < kCalls; ++i, stream += 2) {
        calls += test::UnaryCall(
            stream, absl::StrCat("/tests.wire.Probe/", method), "");
        resets += test::Frame(3, 0, stream, std::string_view("\0\0\0\x08", 4));
      }
      test::Say(fd, calls);
      ASSERT_TRUE(test::Eventually(
          [&] { return waiter.begun == round * kCalls || !is_open(); }));
      test::Say(fd, resets);
      ASSERT_TRUE(
          test::Eventually([&] { return waiter.ended == waiter.begun; }));
    }
    EXPECT_TRUE(test::Eventually(
        [&] { return Refusals("too-many-calls-for-nothing") == 1; }));
    EXPECT_EQ(Refusals("too-many-calls"), 0u);
    server_.reset();
  }
}

TEST_F(GrpcServicesTest, RequestsBeyondTheSizeAreRefusedAndCounted) {
  ServerOptions options = Options();
  options.max_message_bytes = 1000;
  Start(std::move(options));
  const grpc::Status refused = Get(std::string(2000, 'k'));
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(),
              HasSubstr("/kv.v1.Store/Get: a kv.v1.GetRequest of 2003 bytes is "
                        "larger than the limit of 1000 bytes"));
  EXPECT_EQ(Refusals("message-too-large"), 1u);
  EXPECT_TRUE(Get(std::string(900, 'k')).ok());
}

TEST_F(GrpcServicesTest, CompressedRequestsAreRefusedOfTheirsAndOfOurs) {
  Start(Options());
  // Our own channels do not compress.
  auto fd = Dial(*UnixAddress::Parse(server_->address()), ::geteuid(),
                 absl::InfiniteFuture());
  ASSERT_THAT(fd, IsOk());
  const auto channel = grpc::CreateInsecureChannelFromFd("s", fd->Release());
  const auto call = [&](grpc_compression_algorithm algorithm) {
    grpc::ClientContext context;
    context.set_compression_algorithm(algorithm);
    kv::v1::GetRequest request;
    request.set_key(std::string(100'000, 'k'));
    kv::v1::GetReply reply;
    return kv::v1::Store::NewStub(channel)->Get(&context, request, &reply);
  };
  const auto echo = [&](grpc_compression_algorithm algorithm) {
    grpc::ClientContext context;
    context.set_compression_algorithm(algorithm);
    Item request;
    request.set_data(std::string(100'000, 'd'));
    Item reply;
    return tests::wire::Probe::NewStub(channel)->Echo(&context, request,
                                                      &reply);
  };
  for (const auto algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    EXPECT_EQ(call(algorithm).error_code(), grpc::StatusCode::UNIMPLEMENTED);
    EXPECT_EQ(echo(algorithm).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  }
  EXPECT_EQ(probe_.calls, 0);
  EXPECT_TRUE(call(GRPC_COMPRESS_NONE).ok());
  EXPECT_TRUE(echo(GRPC_COMPRESS_NONE).ok());
}

TEST_F(GrpcServicesTest, HealthIsToldOfWhatIsServed) {
  Start(Options());
  using Response = grpc::health::v1::HealthCheckResponse;
  for (const char* service : {"", "kv.v1.Store", "tests.wire.Probe"}) {
    EXPECT_THAT(Health(service), testing::IsOkAndHolds(Response::SERVING));
  }
  EXPECT_THAT(Health("kv.v1.Stare").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("kv.v1.Stare")));
}

TEST_F(GrpcServicesTest, WhoWatchesHealthIsToldAndHoldsUpNoServerThatStops) {
  Start(Options());
  using Response = grpc::health::v1::HealthCheckResponse;
  grpc::health::v1::HealthClient health(*channel_);
  grpc::health::v1::HealthCheckRequest unknown;
  unknown.set_service("kv.v1.Stare");
  auto watch = health.Watch({});
  auto watch_unknown = health.Watch(unknown);
  Response response;
  ASSERT_TRUE(watch.Read(&response));
  EXPECT_EQ(response.status(), Response::SERVING);
  ASSERT_TRUE(watch_unknown.Read(&response));
  EXPECT_EQ(response.status(), Response::SERVICE_UNKNOWN);
  // Without the notice it would take the hour.
  EXPECT_TRUE(server_->Stop(absl::Hours(1)));
  ASSERT_TRUE(watch.Read(&response));
  EXPECT_EQ(response.status(), Response::NOT_SERVING);
  EXPECT_FALSE(watch.Read(&response));
  EXPECT_THAT(watch.status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
  EXPECT_FALSE(watch_unknown.Read(&response));
}

TEST_F(GrpcServicesTest, HealthMayBeKeptFromClientsByARule) {
  ServerOptions options = Options();
  ASSERT_THAT(options.access.AllowCall("grpc.health.v1.Health",
                                       AllowList().AllowUid(::geteuid() + 1)),
              IsOk());
  Start(std::move(options));
  EXPECT_THAT(Health("").status(),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("rule")));
}

TEST_F(GrpcServicesTest, ReflectionIsOffUntilAskedFor) {
  Start(Options());
  auto info = grpc::reflection::v1::ServerReflectionClient(*channel_)
                  .ServerReflectionInfo();
  grpc::reflection::v1::ServerReflectionResponse response;
  EXPECT_FALSE(info.Read(&response));
  EXPECT_THAT(info.status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("")));
}

// What grpcurl does not ask is asked here, of either version.
template <typename Client, typename Request, typename Response>
void TryReflection(Channel& channel) {
  auto info = Client(channel).ServerReflectionInfo();
  const auto ask = [&info](const Request& request) {
    Response response;
    EXPECT_THAT(info.Write(request), IsOk());
    EXPECT_TRUE(info.Read(&response));
    return response;
  };
  Request request;
  request.set_list_services("*");
  std::vector<std::string> names;
  const Response list = ask(request);
  for (const auto& service : list.list_services_response().service()) {
    names.push_back(service.name());
  }
  EXPECT_THAT(names, ::testing::IsSupersetOf({"kv.v1.Store", "tests.wire.Probe",
                                              "grpc.health.v1.Health",
                                              "tandem.rpc.v1.Session",
                                              "grpc.reflection.v1alpha."
                                              "ServerReflection"}));

  // With what it imports, each once: probe, options, descriptor.
  request.set_file_by_filename("tests/rpc/wire/probe.proto");
  EXPECT_EQ(
      ask(request).file_descriptor_response().file_descriptor_proto_size(), 3);
  request.set_file_containing_symbol("kv.v1.Store.Get");
  EXPECT_GE(
      ask(request).file_descriptor_response().file_descriptor_proto_size(), 1);
  request.set_all_extension_numbers_of_type("google.protobuf.MethodOptions");
  const auto numbers = ask(request).all_extension_numbers_response();
  ASSERT_EQ(numbers.extension_number_size(), 1);
  auto& extension = *request.mutable_file_containing_extension();
  extension.set_containing_type("google.protobuf.MethodOptions");
  extension.set_extension_number(numbers.extension_number(0));
  EXPECT_GE(
      ask(request).file_descriptor_response().file_descriptor_proto_size(), 1);
  extension.set_extension_number(1);
  EXPECT_EQ(ask(request).error_response().error_code(), 5);
  request.set_file_by_filename("none.proto");
  EXPECT_THAT(ask(request).error_response().error_message(),
              HasSubstr("none.proto"));
  EXPECT_EQ(ask({}).error_response().error_code(), 3);
  info.WritesDone();
  Response response;
  EXPECT_FALSE(info.Read(&response));
  EXPECT_THAT(info.status(), IsOk());
}

// The answered have been asked something: their client waits for the user.
template <typename Client, typename Request, typename Response>
void TryToStopWhileAsking(Channel& channel, Server& server) {
  auto silent = Client(channel).ServerReflectionInfo();
  auto answered = Client(channel).ServerReflectionInfo();
  Request request;
  request.set_list_services("*");
  Response response;
  EXPECT_THAT(answered.Write(request), IsOk());
  ASSERT_TRUE(answered.Read(&response));
  // Without the notice it would take the hour.
  EXPECT_TRUE(server.Stop(absl::Hours(1)));
  EXPECT_FALSE(answered.Read(&response));
  EXPECT_THAT(answered.status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
  EXPECT_FALSE(silent.Read(&response));
}

TEST_F(GrpcServicesTest, WhoAsksReflectionHoldsUpNoServerThatStops) {
  ServerOptions options = Options();
  options.reflection = true;
  Start(options);
  TryToStopWhileAsking<grpc::reflection::v1::ServerReflectionClient,
                       grpc::reflection::v1::ServerReflectionRequest,
                       grpc::reflection::v1::ServerReflectionResponse>(
      *channel_, *server_);
  server_.reset();
  Start(options);
  TryToStopWhileAsking<grpc::reflection::v1alpha::ServerReflectionClient,
                       grpc::reflection::v1alpha::ServerReflectionRequest,
                       grpc::reflection::v1alpha::ServerReflectionResponse>(
      *channel_, *server_);
}

TEST_F(GrpcServicesTest, ReflectionTellsAllThatItsProtocolAsksFor) {
  ServerOptions options = Options();
  options.reflection = true;
  Start(std::move(options));
  TryReflection<grpc::reflection::v1::ServerReflectionClient,
                grpc::reflection::v1::ServerReflectionRequest,
                grpc::reflection::v1::ServerReflectionResponse>(*channel_);
  TryReflection<grpc::reflection::v1alpha::ServerReflectionClient,
                grpc::reflection::v1alpha::ServerReflectionRequest,
                grpc::reflection::v1alpha::ServerReflectionResponse>(*channel_);
}

}  // namespace
}  // namespace tandem::rpc

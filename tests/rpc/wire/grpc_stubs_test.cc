// gRPC's own generated stubs against a Tandem server: what GRPC_STUBS makes.

#include <grpcpp/grpcpp.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kv/v1/store.grpc.pb.h"
#include "kv/v1/store.tandem.h"
#include "rpc/server/server.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"

namespace tandem::rpc {
namespace {

class EchoStore final : public kv::v1::StoreHandler {
  absl::StatusOr<kv::v1::GetReply> Get(
      Call& call, const kv::v1::GetRequest& request) override {
    if (request.key().empty()) return absl::NotFoundError("no such key");
    kv::v1::GetReply reply;
    reply.set_value(request.key());
    return reply;
  }
  void Watch(Call& call, const kv::v1::WatchRequest& request,
             Writer<kv::v1::Change> out) override {
    for (const char* key : {"a", "b"}) {
      kv::v1::Change change;
      change.set_key(key);
      EXPECT_THAT(out.Write(change), testing::IsOk());
    }
    out.Finish(absl::OkStatus());
  }
};

class GrpcStubsTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(server_, testing::IsOk()); }

  testing::TempDir temp_;
  EchoStore store_;
  absl::StatusOr<std::unique_ptr<Server>> server_ = Server::Start(
      {.address = temp_.Address("sock"), .services = {Serve(store_)}});
  std::unique_ptr<kv::v1::Store::Stub> stub_ =
      kv::v1::Store::NewStub(grpc::CreateChannel(
          temp_.Address("sock"), grpc::InsecureChannelCredentials()));
};

TEST_F(GrpcStubsTest, UnaryCallIsAnswered) {
  grpc::ClientContext context;
  kv::v1::GetRequest request;
  request.set_key("colour");
  kv::v1::GetReply reply;
  EXPECT_TRUE(stub_->Get(&context, request, &reply).ok());
  EXPECT_EQ(reply.value(), "colour");
}

TEST_F(GrpcStubsTest, ErrorsKeepCodeAndMessage) {
  grpc::ClientContext context;
  kv::v1::GetReply reply;
  const grpc::Status status = stub_->Get(&context, {}, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no such key");
}

TEST_F(GrpcStubsTest, StreamIsReadToItsEnd) {
  grpc::ClientContext context;
  const auto reader = stub_->Watch(&context, {});
  std::string keys;
  kv::v1::Change change;
  while (reader->Read(&change)) keys += change.key();
  EXPECT_EQ(keys, "ab");
  EXPECT_TRUE(reader->Finish().ok());
}

}  // namespace
}  // namespace tandem::rpc

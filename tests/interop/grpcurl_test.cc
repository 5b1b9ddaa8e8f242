// grpcurl against tandem-kvstore, without a .proto file: it asks the server.

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/file.h"
#include "rpc/testing/process.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"
#include "rpc/testing/temp_dir.h"
#include "tests/interop/go_program.h"

namespace tandem::test {
namespace {

using ::tandem::rpc::testing::IsOk;
using ::tandem::rpc::testing::IsOkAndHolds;
using ::tandem::rpc::testing::Process;
using ::tandem::rpc::testing::ProcessPair;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kGrpcurl[] = "github.com/fullstorydev/grpcurl/cmd/grpcurl";
constexpr char kVersion[] = "v1.9.1";

class GrpcurlTest : public ::testing::Test {
 protected:
  GrpcurlTest()
      : app_({.server = {TANDEM_BIN_DIR "/tandem-kvstore", "--listen",
                         "{socket}", "--data", "{dir}"}}) {}

  void SetUp() override {
    const auto program = GoProgram(kGrpcurl, kVersion);
    if (!program.ok()) GTEST_SKIP() << program.status().message();
    program_ = *program;
    ASSERT_THAT(app_.Start(), IsOk());
  }

  // What grpcurl prints about the server; `options` come before its address.
  std::string Grpcurl(const std::vector<std::string>& options,
                      const std::vector<std::string>& arguments) {
    const rpc::testing::TempDir temp;
    std::vector<std::string> command = {program_, "-plaintext", "-unix"};
    command.insert(command.end(), options.begin(), options.end());
    command.push_back(app_.address().substr(5));
    command.insert(command.end(), arguments.begin(), arguments.end());
    const auto process = Process::Start(
        {.command = std::move(command), .log_path = temp.File("log")});
    EXPECT_THAT(process, IsOk());
    EXPECT_THAT((*process)->Wait(absl::Seconds(60)), IsOkAndHolds(0));
    return rpc::ReadFile(temp.File("log")).value_or("");
  }

  ProcessPair app_;

 private:
  std::string program_;
};

TEST_F(GrpcurlTest, ListsWhatIsServed) {
  EXPECT_THAT(Grpcurl({}, {"list"}),
              AllOf(HasSubstr("tendermint.abci.ABCI\n"),
                    HasSubstr("grpc.health.v1.Health\n"),
                    HasSubstr("tandem.rpc.v1.Session\n")));
  EXPECT_THAT(Grpcurl({}, {"list", "tendermint.abci.ABCI"}),
              HasSubstr("tendermint.abci.ABCI.FinalizeBlock\n"));
}

TEST_F(GrpcurlTest, DescribesServicesAndMessages) {
  EXPECT_THAT(Grpcurl({}, {"describe", "tendermint.abci.ABCI"}),
              HasSubstr("rpc Echo ( .tendermint.abci.RequestEcho ) returns ( "
                        ".tendermint.abci.ResponseEcho )"));
  EXPECT_THAT(Grpcurl({}, {"describe", "grpc.health.v1.HealthCheckResponse"}),
              HasSubstr("SERVICE_UNKNOWN = 3;"));
}

TEST_F(GrpcurlTest, Calls) {
  EXPECT_THAT(Grpcurl({"-d", R"({"message": "aGVsbG8="})"},
                      {"tendermint.abci.ABCI/Echo"}),
              HasSubstr(R"("message": "aGVsbG8=")"));
}

TEST_F(GrpcurlTest, ChecksHealth) {
  EXPECT_THAT(Grpcurl({"-d", R"({"service": "tendermint.abci.ABCI"})"},
                      {"grpc.health.v1.Health/Check"}),
              HasSubstr(R"("status": "SERVING")"));
}

}  // namespace
}  // namespace tandem::test

// The store in a process of its own, called over its socket.

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kv/v1/store.tandem.h"
#include "rpc/testing/process.h"
#include "rpc/testing/process_pair.h"
#include "rpc/testing/status_matchers.h"

namespace kv {
namespace {

using tandem::rpc::testing::IsOk;
using tandem::rpc::testing::IsOkAndHolds;
using tandem::rpc::testing::Process;
using tandem::rpc::testing::ProcessPair;
using tandem::rpc::testing::StatusIs;
using tandem::rpc::testing::TempDir;
using ::testing::HasSubstr;

constexpr char kServer[] = TANDEM_BIN_DIR "/store_server";
constexpr char kClient[] = TANDEM_BIN_DIR "/store_client";

class StorePairTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(pair_.Start(), IsOk()); }

  absl::Status Put(const std::string& key, const std::string& value) {
    v1::PutRequest request;
    request.set_key(key);
    request.set_value(value);
    return client_.Put(request).status();
  }
  absl::StatusOr<std::string> Get(const std::string& key) {
    v1::GetRequest request;
    request.set_key(key);
    auto reply = client_.Get(request);
    if (!reply.ok()) return reply.status();
    return reply->value();
  }

  ProcessPair pair_{{.server = {kServer, "{socket}"}}};
  v1::StoreClient client_{pair_.channel()};
};

TEST_F(StorePairTest, GetsWhatWasPut) {
  ASSERT_THAT(Put("colour", "blue"), IsOk());
  EXPECT_THAT(Get("colour"), IsOkAndHolds("blue"));
}

TEST_F(StorePairTest, ErrorsCrossTheSocketWithCodeAndMessage) {
  EXPECT_THAT(Get("shape"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no key shape")));
}

// The client is the same object before and after: it connects again by itself.
TEST_F(StorePairTest, ClientSurvivesARestartOfTheServer) {
  ASSERT_THAT(Put("colour", "blue"), IsOk());
  pair_.Kill();
  EXPECT_THAT(Get("colour"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("")));
  ASSERT_THAT(pair_.Restart(), IsOk());
  // It kept its values in memory.
  EXPECT_THAT(Get("colour"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("colour")));
}

TEST_F(StorePairTest, ServerEndsWithStatusZeroWhenAsked) {
  EXPECT_THAT(pair_.Terminate(), IsOkAndHolds(0));
}

TEST_F(StorePairTest, WatcherIsToldWhoChangedWhat) {
  auto watch = client_.Watch({});
  // The watch begins when the server has seen it; until then changes are not
  // announced.
  v1::Change change;
  std::thread changes([&] {
    while (change.key().empty() && Put("colour", "blue").ok()) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  });
  v1::Change seen;
  const bool told = watch.Read(&seen);
  pair_.Kill();  // ends the other thread
  changes.join();
  ASSERT_TRUE(told);
  EXPECT_EQ(seen.key(), "colour");
  EXPECT_EQ(seen.uid(), ::geteuid());
}

// Even where the file system lets everybody through, the server lets no other
// user in.
TEST_F(StorePairTest, ForeignUserIsRefused) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "NOT TESTED: only root can become another user; run this "
                    "test with sudo";
  }
  const std::string socket = pair_.address().substr(std::strlen("unix:"));
  const std::string directory = socket.substr(0, socket.rfind('/'));
  ASSERT_EQ(::chmod(directory.c_str(), 0711), 0);
  ASSERT_EQ(::chmod(socket.c_str(), 0666), 0);
  ASSERT_THAT(Put("colour", "blue"), IsOk());

  const TempDir temp;
  auto client = Process::Start(
      {.command = {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534",
                   "--clear-groups", kClient, pair_.address(), "colour"},
       .log_path = temp.File("log"),
       .environment = {"STORE_SERVER_UID=0"}});
  ASSERT_THAT(client, IsOk());
  EXPECT_THAT((*client)->Wait(absl::Seconds(30)), IsOkAndHolds(1));
  EXPECT_THAT(pair_.Log(), HasSubstr("65534"));
}

}  // namespace
}  // namespace kv

// The store called in this process: no socket, no second process, and the same
// client class.

#include "store.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/client/channel.h"
#include "rpc/testing/status_matchers.h"

namespace kv {
namespace {

using tandem::rpc::testing::IsOk;
using tandem::rpc::testing::StatusIs;
using ::testing::HasSubstr;

class StoreTest : public ::testing::Test {
 protected:
  Store store_;
  std::unique_ptr<tandem::rpc::Channel> channel_ =
      tandem::rpc::Channel::InProcess({Serve(store_)});
  v1::StoreClient client_{*channel_};
};

TEST_F(StoreTest, GetsWhatWasPut) {
  v1::PutRequest put;
  put.set_key("colour");
  put.set_value("blue");
  ASSERT_THAT(client_.Put(put), IsOk());

  v1::GetRequest get;
  get.set_key("colour");
  auto reply = client_.Get(get);
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->value(), "blue");
}

TEST_F(StoreTest, NamesTheKeyThatIsNotThere) {
  v1::GetRequest get;
  get.set_key("shape");
  EXPECT_THAT(client_.Get(get),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no key shape")));
}

TEST_F(StoreTest, RefusesAnEmptyKey) {
  EXPECT_THAT(client_.Put({}), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("empty key")));
}

}  // namespace
}  // namespace kv

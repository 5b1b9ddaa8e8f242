#include "proto/abci/socket_error.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/testing/status_matchers.h"

namespace tandem::abci {
namespace {

using rpc::testing::StatusIs;
using ::testing::HasSubstr;

TEST(SocketErrorTest, EveryErrorArrivesAsItWas) {
  for (int code = 1; code <= 16; ++code) {
    for (const char* const message : {"", "busy", "a: b: c"}) {
      const absl::Status error(static_cast<absl::StatusCode>(code), message);
      EXPECT_EQ(ErrorOf(ExceptionText(error)), error);
    }
  }
}

TEST(SocketErrorTest, TheTextSaysWhichItIs) {
  EXPECT_EQ(ExceptionText(absl::AbortedError("as you wish")),
            "ABORTED: as you wish");
}

TEST(SocketErrorTest, OtherTextsAreAsTheyAre) {
  for (const char* const text :
       {"no such thing", "OK: fine", "aborted: no", "ABORTED:no", ": x",
        "validator: ABORTED: x", "ABORTED"}) {
    EXPECT_THAT(ErrorOf(text), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr(text)));
  }
  EXPECT_THAT(ErrorOf(""), StatusIs(absl::StatusCode::kFailedPrecondition,
                                    HasSubstr("it says no more")));
}

}  // namespace
}  // namespace tandem::abci

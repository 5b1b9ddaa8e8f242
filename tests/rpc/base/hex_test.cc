#include "rpc/base/hex.h"

#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

TEST(HexOrNoneTest, NoBytesAreToldFromBytesOfZero) {
  EXPECT_EQ(HexOrNone(""), "(none)");
  EXPECT_EQ(HexOrNone({"\0", 1}), "00");
  EXPECT_EQ(HexOrNone("\x0a\xff"), "0aff");
}

}  // namespace
}  // namespace tandem::rpc

#include "proto/abci/block_bytes.h"

#include "gtest/gtest.h"

namespace tandem::abci {
namespace {

TEST(BytesInBlockTest, CountsTheLengthAndTheTag) {
  EXPECT_EQ(BytesInBlock(0), 2);
  EXPECT_EQ(BytesInBlock(127), 129);
  EXPECT_EQ(BytesInBlock(128), 131);
}

}  // namespace
}  // namespace tandem::abci

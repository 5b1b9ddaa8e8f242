#include "rpc/wire/grpc/outbox.h"

#include <grpcpp/support/slice.h>

#include <string>

#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

grpc::ByteBuffer Message(std::size_t bytes) {
  const grpc::Slice slice(std::string(bytes, 'x'));
  return grpc::ByteBuffer(&slice, 1);
}

TEST(OutboxTest, GivesMessagesInOrder) {
  Outbox outbox;
  outbox.Push(Message(1));
  outbox.Push(Message(2));
  EXPECT_EQ(outbox.Next()->Length(), 1u);
  outbox.Written();
  EXPECT_EQ(outbox.Next()->Length(), 2u);
  outbox.Written();
  EXPECT_TRUE(outbox.is_empty());
}

TEST(OutboxTest, IsFullUntilTheMessageIsWritten) {
  Outbox outbox;
  outbox.Push(Message(1 << 20));
  EXPECT_TRUE(outbox.is_full());
  outbox.Next();
  EXPECT_TRUE(outbox.is_full());
  outbox.Written();
  EXPECT_FALSE(outbox.is_full());
}

TEST(OutboxTest, EmptyMessagesFillIt) {
  Outbox outbox;
  int taken = 0;
  for (; !outbox.is_full() && taken < 100'000; ++taken) outbox.Push(Message(0));
  EXPECT_LT(taken, 100'000);
  for (; !outbox.is_empty(); outbox.Written()) outbox.Next();
  for (int i = 0; i + 1 < taken; ++i) outbox.Push(Message(0));
  EXPECT_FALSE(outbox.is_full());
}

TEST(OutboxTest, ClearKeepsTheMessageThatIsBeingWritten) {
  Outbox outbox;
  outbox.Push(Message(7));
  outbox.Push(Message(1 << 20));
  const grpc::ByteBuffer* const writing = outbox.Next();
  outbox.Clear();
  EXPECT_TRUE(outbox.is_empty());
  EXPECT_FALSE(outbox.is_full());
  EXPECT_EQ(writing->Length(), 7u);
}

}  // namespace
}  // namespace tandem::rpc

#include "rpc/wire/frames/batch_writer.h"

#include <sys/socket.h>

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/base/unique_fd.h"

namespace tandem::rpc {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::SizeIs;
using Batch = BatchWriter::Batch;
using Room = BatchWriter::Room;

// What is sent in one send(2) is read in one recv(2).
class BatchWriterTest : public ::testing::TestWithParam<Batch> {
 protected:
  BatchWriterTest() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    near_ = UniqueFd(pair[0]);
    // A packet has to fit.
    const int bytes = 1 << 20;
    ::setsockopt(near_.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    far_ = UniqueFd(pair[1]);
    writer_.emplace(near_.get(), GetParam());
  }

  Room Say(std::string_view words) {
    return writer_->Write([words](OutputBuffer& out) {
      std::memcpy(out.Extend(words.size()), words.data(), words.size());
    });
  }

  // What was sent since the last time.
  std::vector<std::string> Sent() {
    std::vector<std::string> sent;
    std::string packet(1 << 20, '\0');
    while (true) {
      const ssize_t got =
          ::recv(far_.get(), packet.data(), packet.size(), MSG_DONTWAIT);
      if (got <= 0) return sent;
      sent.push_back(packet.substr(0, static_cast<std::size_t>(got)));
    }
  }

  UniqueFd near_;
  UniqueFd far_;
  std::optional<BatchWriter> writer_;
};

TEST_P(BatchWriterTest, WhatIsSaidOutsideABatchIsSentAtOnce) {
  EXPECT_EQ(Say("a"), Room::kEnough);
  EXPECT_EQ(Say("b"), Room::kEnough);
  EXPECT_THAT(Sent(), ElementsAre("a", "b"));
}

TEST_P(BatchWriterTest, ABatchIsSentTogetherOnceItEnds) {
  writer_->BeginBatch();
  Say("a");
  Say("b");
  EXPECT_THAT(Sent(), IsEmpty());
  EXPECT_EQ(writer_->unsent(), 2u);
  EXPECT_EQ(writer_->EndBatch(), Room::kEnough);
  EXPECT_THAT(Sent(), ElementsAre("ab"));
  EXPECT_EQ(writer_->unsent(), 0u);
  EXPECT_EQ(writer_->sent(), 2u);
}

TEST_P(BatchWriterTest, OfALongBatchTheBeginningIsSentEarly) {
  // The second time as the first: every batch begins anew.
  for (int i = 0; i < 2; ++i) {
    writer_->BeginBatch();
    for (int n = 0; n < 64; ++n) Say("x");
    EXPECT_THAT(Sent(), ElementsAre(SizeIs(16), SizeIs(32)));
    writer_->EndBatch();
    EXPECT_THAT(Sent(), ElementsAre(SizeIs(16)));
  }
}

TEST_P(BatchWriterTest, AVeryLongBatchTakesFewSystemCalls) {
  writer_->BeginBatch();
  for (int n = 0; n < 10'000; ++n) Say("x");
  writer_->EndBatch();
  EXPECT_THAT(Sent(), SizeIs(Le(16)));
}

TEST_P(BatchWriterTest, ABatchThatEndsWithAPartLeavesNothingToTheNext) {
  for (int i = 0; i < 3; ++i) {
    writer_->BeginBatch();
    for (int n = 0; n < 16; ++n) Say("x");
    writer_->EndBatch();
    EXPECT_THAT(Sent(), ElementsAre(SizeIs(16)));
  }
}

TEST_P(BatchWriterTest, OfLargeFramesFewAreGathered) {
  const std::string large(100 << 10, 'x');
  writer_->BeginBatch();
  for (int n = 0; n < 3; ++n) Say(large);
  EXPECT_GE(writer_->unsent() + writer_->sent(), 3 * large.size());
  EXPECT_THAT(Sent(), Not(IsEmpty()));
  writer_->EndBatch();
}

TEST_P(BatchWriterTest, WhatAnotherThreadSaysDoesNotWaitForTheBatch) {
  writer_->BeginBatch();
  std::thread([this] { Say("now"); }).join();
  EXPECT_THAT(Sent(), ElementsAre("now"));
  Say("later");
  writer_->EndBatch();
  EXPECT_THAT(Sent(), ElementsAre("later"));
}

TEST_P(BatchWriterTest, WhatOthersSayIsHeldUntilItIsReleased) {
  writer_->Hold();
  Say("a");
  std::thread([this] { Say("b"); }).join();
  EXPECT_THAT(Sent(), IsEmpty());
  writer_->Release();
  EXPECT_THAT(Sent(), ElementsAre("ab"));
  writer_->Release();
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_P(BatchWriterTest, GoesOnWhereTheSocketTookNoMore) {
  const std::string part(64 << 10, 'x');
  std::size_t said = part.size();
  while (Say(part) == Room::kEnough) said += part.size();
  // Whoever was told resumes, and nobody else is told meanwhile.
  EXPECT_EQ(Say(part), Room::kEnough);
  said += part.size();
  EXPECT_FALSE(writer_->AwaitSent());
  std::string got;
  do {
    for (const std::string& packet : Sent()) got += packet;
  } while (writer_->Resume() == Room::kResume);
  for (const std::string& packet : Sent()) got += packet;
  EXPECT_EQ(got.size(), said);
  EXPECT_THAT(got, Each('x'));
  EXPECT_TRUE(writer_->AwaitSent());
}

TEST_P(BatchWriterTest, TellsWhenThereIsRoomAgain) {
  bool has_room = false;
  writer_->WhenRoom([&] { has_room = true; });
  EXPECT_TRUE(has_room);
  const std::string part(64 << 10, 'x');
  while (Say(part) == Room::kEnough) {
  }
  while (!writer_->is_full()) Say(part);
  has_room = false;
  writer_->WhenRoom([&] { has_room = true; });
  EXPECT_FALSE(has_room);
  do {
    Sent();
  } while (writer_->Resume() == Room::kResume);
  EXPECT_TRUE(has_room);
  EXPECT_EQ(Say("still open"), Room::kEnough);
  EXPECT_THAT(Sent(), Contains("still open"));
}

TEST_P(BatchWriterTest, AfterTheEndNothingIsSentAndNobodyWaits) {
  writer_->Close();
  EXPECT_EQ(Say("a"), Room::kEnough);
  writer_->BeginBatch();
  Say("b");
  EXPECT_EQ(writer_->EndBatch(), Room::kEnough);
  EXPECT_THAT(Sent(), IsEmpty());
  EXPECT_EQ(writer_->unsent(), 0u);
  bool has_room = false;
  writer_->WhenRoom([&] { has_room = true; });
  EXPECT_TRUE(has_room);
}

TEST_P(BatchWriterTest, ABrokenConnectionIsShutDownForItsReader) {
  far_.Reset();
  EXPECT_EQ(Say("a"), Room::kEnough);
  char byte;
  EXPECT_EQ(::recv(near_.get(), &byte, 1, MSG_DONTWAIT), 0);
  EXPECT_EQ(writer_->unsent(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Of, BatchWriterTest,
                         ::testing::Values(Batch::kApart, Batch::kInOrder),
                         [](const auto& batch) {
                           return batch.param == Batch::kApart ? "Apart"
                                                               : "InOrder";
                         });

class BatchInOrderTest : public BatchWriterTest {};

TEST_P(BatchInOrderTest, IsSentBeforeWhatIsSaidLater) {
  writer_->BeginBatch();
  Say("first");
  std::thread([this] { Say("second"); }).join();
  EXPECT_THAT(Sent(), ElementsAre("firstsecond"));
  writer_->EndBatch();
  EXPECT_THAT(Sent(), IsEmpty());
}

TEST_P(BatchInOrderTest, SeveralThreadsMayBeInBatches) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      for (int batch = 0; batch < 20; ++batch) {
        writer_->BeginBatch();
        for (int n = 0; n < 40; ++n) Say("x");
        EXPECT_EQ(writer_->EndBatch(), Room::kEnough);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::size_t bytes = 0;
  for (const std::string& packet : Sent()) bytes += packet.size();
  EXPECT_EQ(bytes, 4u * 20 * 40);
}

INSTANTIATE_TEST_SUITE_P(Of, BatchInOrderTest,
                         ::testing::Values(Batch::kInOrder),
                         [](const auto&) { return "Threads"; });

}  // namespace
}  // namespace tandem::rpc
